"""Nouns of the concepts that localisers show, and their singular forms.

The tables are written for captions of photographs ("a man riding a wave on a
surfboard"). They know words, not meanings: "a dog watches" names no watch only because
`watch` is not in a table. Whoever looks for nouns may bring tables of their own.
"""

from collections.abc import Mapping
from types import MappingProxyType

_ANYONE = """
    person man woman boy girl child kid baby toddler infant adult teenager teen lady
    guy gentleman male female couple someone human individual youngster
"""
_MOVING = """
    player athlete skier snowboarder skateboarder skater rollerblader surfer swimmer
    diver runner jogger hiker climber cyclist bicyclist biker rider racer wrestler
    dancer ballerina gymnast cheerleader goalie goalkeeper batter catcher pitcher
    umpire golfer kayaker rower bather jumper acrobat boarder parasailer
"""
_OTHERS = """
    crowd audience spectator onlooker bystander passenger pedestrian commuter team
    teammate opponent referee family parent mother father mom mum dad son daughter
    brother sister grandmother grandfather friend bride groom bridesmaid
    motorcyclist jockey cowboy fisherman worker policeman policewoman officer
    soldier sailor firefighter fireman guard chef waiter waitress bartender driver
    owner photographer musician singer drummer guitarist performer student teacher
    doctor nurse businessman businesswoman tourist shopper vendor customer clown
    boyfriend girlfriend grandchild grandparent husband wife participant competitor
    contestant
"""
_FACE = """
    face head portrait headshot selfie hair beard mustache moustache eye eyebrow
    nose mouth lip ear cheek chin forehead smile grin frown expression tongue tooth
    glasses eyeglasses sunglasses goggles makeup ponytail
"""
_BODY = """
    body torso arm forearm elbow hand finger fist thumb wrist shoulder chest waist
    hip stomach belly leg thigh knee ankle foot toe neck muscle limb skin pose
    posture handstand cartwheel somersault
"""
_PLACE = """
    place scene landscape view room kitchen bathroom bedroom hallway corridor lobby
    interior basement attic office house home cottage cabin hut shed apartment
    building skyscraper tower church cathedral temple castle barn garage porch patio
    balcony courtyard staircase stairs door doorway window wall floor fountain stage
    street road sidewalk highway alley driveway intersection crosswalk bridge tunnel
    path trail track city town village neighborhood neighbourhood countryside plaza
    skyline downtown market store shop mall restaurant cafe hotel school classroom
    library museum theater theatre gym stadium arena station airport platform pier
    dock harbor harbour port park playground field lawn yard backyard garden pasture
    meadow farm vineyard forest woods jungle desert beach shore coast ocean sea lake
    river creek pond waterfall pool bay island mountain mountainside mountaintop
    hill hillside valley canyon cliff ridge court rink parking+lot train+station
    bus+station bus+stop gas+station
"""
_WORDS = """
    word letter text writing handwriting sign billboard poster banner book notebook
    newspaper magazine page label logo menu graffiti numbers name title headline
    caption inscription alphabet advertisement slogan receipt whiteboard blackboard
    chalkboard stop+sign street+sign license+plate
"""
_FOOD = """
    food meal breakfast lunch dinner snack dessert fruit apple banana oranges lemon
    grape peach pear pineapple watermelon melon berry strawberry blueberry vegetable
    veggie carrot broccoli tomato potato salad lettuce onion pepper mushroom
    cucumber corn bean rice pasta noodle spaghetti bread toast bagel bun sandwich
    burger hamburger cheeseburger hot+dog hotdog pizza taco burrito sushi soup stew
    meat beef steak chicken fish bacon sausage ham egg omelet cheese cake cupcake
    cookie donut doughnut pie pastry muffin waffle pancake chocolate candy ice+cream
    popsicle cereal sauce butter fries popcorn head+of+broccoli head+of+lettuce
"""
_ANIMAL = """
    animal pet dog puppy cat kitten bird horse pony foal cow bull calf cattle sheep
    lamb goat pig elephant bear zebra giraffe lion tiger leopard cheetah monkey
    gorilla ape rabbit bunny squirrel mouse rat deer moose antelope fox wolf duck
    goose swan chicken rooster hen turkey parrot owl eagle pigeon seagull gull
    penguin flamingo peacock pelican fish shark dolphin whale turtle frog snake
    lizard alligator crocodile insect butterfly bee spider camel donkey mule llama
    kangaroo koala panda hippo rhino herd flock terrier greyhound poodle retriever
    collie labrador dachshund pug husky bulldog beagle chihuahua dalmatian
    rottweiler doberman pitbull german+shepherd
"""
_VEHICLE = """
    vehicle car truck van minivan bus taxi cab jeep suv ambulance limousine train
    tram trolley locomotive subway bike bicycle motorcycle motorbike dirtbike
    scooter moped tricycle unicycle atv tractor boat ship sailboat speedboat rowboat
    canoe kayak raft ferry yacht airplane aeroplane plane aircraft jet airliner
    jetliner helicopter cart carriage wagon trailer sled sleigh snowmobile
    fire+truck firetruck fire+engine
"""
_CLOTHING = """
    clothes clothing shirt t-shirt tshirt sweatshirt jacket coat dress skirt pants
    trousers jeans shorts suit tie hat cap hood helmet shoe boot sandal sneaker sock
    glove scarf sweater hoodie vest jersey uniform costume outfit attire swimsuit
    bikini wetsuit robe apron mask headband bandana bandanna belt backpack purse
    handbag
"""
_FURNITURE = """
    furniture chair armchair table couch sofa bench bed desk shelf cabinet cupboard
    dresser bookcase bookshelf stool crib counter drawer rug carpet curtain
"""
_SPORT = """
    sport ball football soccer baseball basketball tennis volleyball softball golf
    hockey rugby cricket frisbee skateboard surfboard snowboard ski paddle bat
    racket racquet hoop goal puck ramp trampoline game competition tournament
    baseball+bat hockey+stick
"""
_PLANT = """
    plant tree flower bush shrub leaf grass branch log rose tulip daisy vine weed
    bouquet foliage hay palm+tree christmas+tree potted+plant
"""
_NATURE = """
    water snow ice sky cloud sand rock boulder dirt mud wave sun sunset sunrise rain
    fog fire smoke puddle stream shadow body+of+water
"""
_INSTRUMENT = """
    instrument guitar violin cello drum piano trumpet flute saxophone accordion
    banjo harp microphone
"""
_OBJECT = """
    bottle cup mug glass bowl plate dish fork knife spoon chopstick pan pot tray jar
    jug vase clock phone cellphone telephone computer laptop keyboard monitor
    television tv remote camera microwave oven stove toaster blender refrigerator
    fridge sink toilet bathtub umbrella bag suitcase luggage box basket bucket
    barrel scissors toothbrush mouse toy doll kite balloon candle lamp mirror towel
    blanket pillow pen pencil tool hammer wheel tire ladder rope pole stick fence
    hydrant flag tent hose leash machine statue teddy+bear stuffed+bear
    stuffed+animal rubber+duck rocking+horse computer+mouse wine+glass fire+hydrant
    traffic+light parking+meter
"""


def _words(*texts: str) -> tuple[str, ...]:
    words = [w.replace("+", " ") for text in texts for w in text.split()]
    return tuple(dict.fromkeys(words))


PEOPLE: tuple[str, ...] = _words(_ANYONE, _MOVING, _OTHERS)
"""Nouns for people: anyone, people named by how they move, by role and by kinship."""

CONCEPTS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        # A picture of a face or a body is captioned by the person more often than by
        # the part: nouns for anyone count for both, those of movements for bodies.
        "face": _words(_FACE, _ANYONE),
        "body": _words(_BODY, _ANYONE, _MOVING),
        "place": _words(_PLACE),
        "word": _words(_WORDS),
        "food": _words(_FOOD),
        "person": PEOPLE,
        "animal": _words(_ANIMAL),
        "vehicle": _words(_VEHICLE),
        "object": _words(_OBJECT),
        "instrument": _words(_INSTRUMENT),
        "furniture": _words(_FURNITURE),
        "clothing": _words(_CLOTHING),
        "sport": _words(_SPORT),
        "plant": _words(_PLANT),
        "nature": _words(_NATURE),
    }
)
"""Nouns of each concept, singular unless only the plural is meant ("woods", "fries",
"oranges": the singular is mostly a colour). A word may belong to several concepts, and
a phrase takes its words away from the others ("hot dog", "body of water")."""

_IRREGULAR = MappingProxyType(
    {
        "people": "person",
        "children": "child",
        "women": "woman",
        "men": "man",
        "feet": "foot",
        "teeth": "tooth",
        "geese": "goose",
        "mice": "mouse",
        "oxen": "ox",
        "dice": "die",
        "leaves": "leaf",
        "knives": "knife",
        "wives": "wife",
        "wolves": "wolf",
        "calves": "calf",
        "halves": "half",
        "hooves": "hoof",
        "loaves": "loaf",
        "scarves": "scarf",
        "shelves": "shelf",
        "bookshelves": "bookshelf",
        "thieves": "thief",
        "elves": "elf",
        "axes": "axe",
        "headaches": "headache",
        "mustaches": "mustache",
        "moustaches": "moustache",
        "cacti": "cactus",
        "skis": "ski",
        "taxis": "taxi",
        "bikinis": "bikini",
        "safaris": "safari",
    }
)
# Words of these endings are compounds ("policemen", "schoolchildren"), but for a few.
_COMPOUNDS = ("people", "children", "women", "men")
_NO_PLURALS = frozenset(
    _words("""
    abdomen specimen regimen ramen series species news lens gas canvas atlas christmas
    always perhaps clothes jeans pants shorts trousers overalls pajamas tights leggings
    scissors binoculars goggles sunglasses eyeglasses headphones outdoors indoors stairs
    woods fries texas wales
    """)
)
# What loses "es", and what ends in "ie": the spelling alone does not tell.
_TAKES_ES = frozenset(
    _words("""
    bus minibus trolleybus circus walrus octopus virus cactus campus hippopotamus
    platypus crocus gas lens canvas iris atlas potato tomato hero mango buffalo volcano
    mosquito echo domino tornado torpedo
    """)
)
_ENDS_IN_IE = frozenset(
    _words("""
    movie cookie zombie selfie hoodie brownie smoothie rookie birdie goalie collie
    veggie genie prairie wheelie newbie hippie lassie calorie hoagie tie pie lie die
    bowtie magpie foodie doggie kiddie
    """)
)


def singular(word: str) -> str:
    """Return the singular of an English noun, by rule.

    Parameters
    ----------
    word : str
        One lower-case word, singular or plural.

    Returns
    -------
    str
        Its singular; a word that is no plural stays as it is.

    Notes
    -----
    Irregular plurals that captions use are listed; the rest goes by the ending. A
    verb or a rare word may come out wrong ("runs" gives "run").

    Examples
    --------
    >>> [singular(w) for w in ("men", "buses", "puppies", "leaves", "grass", "shoes")]
    ['man', 'bus', 'puppy', 'leaf', 'grass', 'shoe']
    """
    if word in _IRREGULAR:
        return _IRREGULAR[word]
    if word in _NO_PLURALS:
        return word
    for ending in _COMPOUNDS:
        if word.endswith(ending):
            return word.removesuffix(ending) + _IRREGULAR[ending]
    if len(word) < 3 or not word.endswith("s") or word.endswith(("ss", "us", "is")):
        return word
    stem = word[:-1]
    if word.endswith("ies") and stem not in _ENDS_IN_IE:
        return word[:-3] + "y"
    if word.endswith(("sses", "ches", "shes", "xes")) or word[:-2] in _TAKES_ES:
        return word[:-2]
    return stem
