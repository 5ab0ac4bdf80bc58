"""What people do in the tests of the Gestalt battery."""

from tasks.directions import Direction

_KANIZSA = "Kanizsa (1979), Organization in vision; recalled"
_SHIPLEY = "Shipley & Kellman 1992, doi:10.3758/BF03206762; recalled"
_RINGACH = "Ringach & Shapley 1996, doi:10.1016/0042-6989(96)00062-4; recalled"
_KUBOVY = "Kubovy & Wagemans 1995, doi:10.1111/j.1467-9280.1995.tb00597.x; recalled"
_FIELD = "Field, Hayes & Hess 1993, doi:10.1016/0042-6989(93)90156-Q; recalled"
_PETERSON = "Peterson & Salvagio 2008, doi:10.1167/8.16.4; recalled"

DIRECTIONS = {
    "index": Direction(
        "illusory edge resembles a real one", "see the contour", _KANIZSA
    ),
    "index_slope": Direction(
        "resemblance grows with support ratio",
        "clarity grows about linearly with the support ratio",
        _SHIPLEY,
    ),
    "fill_in": Direction(
        "inside of the figure stands out", "see a brighter surface", _KANIZSA
    ),
    "support": Direction(
        "fat or thin: more support helps",
        "thresholds of about 1-3 deg, lower with more support",
        _RINGACH,
    ),
    "local": Direction(
        "fat or thin: better than inducers turned outward",
        "thresholds are several times higher without the illusory figure",
        _RINGACH,
    ),
    "attraction": Direction(
        "grouping follows proximity (s)", "s about 2.9, individuals 2-5", _KUBOVY
    ),
    "similarity": Direction(
        "similarity draws grouping to it",
        "similarity adds to proximity",
        "Kubovy & van den Berg 2008, doi:10.1037/0033-295X.115.1.131; recalled",
    ),
    "closure": Direction(
        "cost per item: open above closed",
        "closure speeds search, more so with smaller gaps",
        "Elder & Zucker 1993, doi:10.1016/0042-6989(93)90080-G; recalled",
    ),
    "contour": Direction(
        "contours up to 30 deg found above chance",
        "> 90 % right up to 30 deg",
        _FIELD,
    ),
    "contour_slope": Direction(
        "contours harder with path angle",
        "about 75 % at 45 deg, near chance from 60-75 deg",
        _FIELD,
        -1,
    ),
    "convex": Direction(
        "convex regions are figures",
        "57 % with 2 regions to 89 % with 8",
        _PETERSON,
    ),
    "convex_slope": Direction(
        "convexity counts more with more regions",
        "57 % with 2 regions to 89 % with 8",
        _PETERSON,
    ),
    "lower": Direction(
        "lower regions are figures",
        "about 70-75 %",
        "Vecera, Vogel & Woodman 2002, doi:10.1037/0096-3445.131.2.194; recalled",
    ),
    "border": Direction(
        "edge tells the side of its figure",
        "neurons of V2 tell it (monkeys)",
        "Zhou, Friedman & von der Heydt 2000, doi:10.1523/JNEUROSCI.20-17-06594.2000; "
        "recalled",
    ),
}
"""What people do, by what is compared."""
