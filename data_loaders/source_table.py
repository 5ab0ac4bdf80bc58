"""The table of data sets that the suite reads: where each comes from, and its terms."""

from collections.abc import Mapping
from types import MappingProxyType

from data_loaders.choice_sources import CHOICE_SOURCES
from data_loaders.fetch import RemoteFile
from data_loaders.source_record import Source

_RAW = "https://raw.githubusercontent.com/"
_ASYMMETRY = "https://github.com/kreimanlab/VisualSearchAsymmetry"
_STI_COMMIT = (
    "DFKI-Interactive-Machine-Learning/STI-Dataset/"
    "60d27471bf1a2188dff244058503df0b8bddd79b"
)
_OSIE_COMMIT = (
    "NUS-VIP/predicting-human-gaze-beyond-pixels/"
    "4a467890fcb40a2fec04cdded552760942bac7a4"
)
_GUPTA = (
    "Gupta, Zhang, Wu, Wolfe and Kreiman (2021). Visual search asymmetry: deep nets "
    "and humans share similar inherent biases. NeurIPS 34. arXiv:2106.02953."
)


_AMAZON = Source(
    name="amazon-covers",
    what="target search among 84 book covers: 100 collages, 5 targets, 6 observers, "
    "600 trials, 8683 fixations without durations; no pictures",
    url="https://github.com/DFKI-Interactive-Machine-Learning/STI-Dataset",
    licence="CC BY-NC-SA 4.0",
    citation="Sattar, Müller, Fritz and Bulling (2015). Prediction of search targets "
    "from fixations in open-world settings. CVPR. doi:10.1109/CVPR.2015.7298700. "
    "Stauden, Barz and Sonntag (2018). Visual search target inference using bag of "
    "deep visual words. KI 2018. doi:10.1007/978-3-030-00111-7_25.",
    loader="amazon_covers:load_amazon_covers",
    files=(
        RemoteFile(
            url=f"{_RAW}{_STI_COMMIT}/AmazonCovers/Amazon.json",
            sha256="631fd1769534b38b9e59bf4e1bbbe5fddc0a0bbdd45b13a7910f2545d0412c5b",
            n_bytes=827_792,
            name="Amazon.json",
            terms="CC BY-NC-SA 4.0: non-commercial use only; cite the authors; share "
            "what you derive under the same licence; see "
            "https://creativecommons.org/licenses/by-nc-sa/4.0/.",
        ),
    ),
)

_OSIE = Source(
    name="osie",
    what="free viewing of 700 scenes (800 x 600) by 15 observers, 10500 trials, "
    "98321 fixations with durations; pictures",
    url="https://github.com/NUS-VIP/predicting-human-gaze-beyond-pixels",
    licence="MIT, as stated by the repository",
    citation="Xu, Jiang, Wang, Kankanhalli and Zhao (2014). Predicting human gaze "
    "beyond pixels. Journal of Vision 14(1):28. doi:10.1167/14.1.28.",
    loader="osie:load_osie",
    file_table="osie_pictures.csv",
    file_table_url=f"{_RAW}{_OSIE_COMMIT}/data/stimuli",
    file_table_folder="stimuli",
    by_hand=f"Get the fixations, {_RAW}{_OSIE_COMMIT}/data/eye/fixations.mat (MD5 "
    "8efdf6fe66f38b6e70f854c7ff45aa70; its SHA-256 is not known here), and put them "
    "into the folder as fixations.mat.",
)

_COCO = Source(
    name="coco-search18",
    what="search for 18 categories in COCO pictures shown at 1680 x 1050 by 10 people; "
    "the validation part of target-present search has 3258 scanpaths on 315 pictures; "
    "no pictures",
    url="https://github.com/ssaket/visual-search-actr",
    licence="the authors let anyone use the training and validation fixations and ask "
    "to be cited; the COCO pictures have their own terms",
    citation="Chen, Yang, Ahn, Samaras, Hoai and Zelinsky (2021). COCO-Search18 "
    "fixation dataset for predicting goal-directed attention control. Scientific "
    "Reports 11:8776. doi:10.1038/s41598-021-87715-9. Yang et al. (2020). Predicting "
    "goal-directed human attention using inverse reinforcement learning. CVPR. "
    "arXiv:2005.14310.",
    loader="coco_search:load_coco_search",
    by_hand="Get COCOSearch18-fixations-TP.zip of the authors "
    "(vision.cs.stonybrook.edu/~cvlab_download, an address without https), or the "
    "copy in data/coco_search_18 of the repository above at commit "
    "5a0ca232e3191e0590ea51fce821ee58cbece1f2, and put "
    "coco_search18_fixations_TP_validation_split1.json into the folder, as it is or "
    "gzipped.",
)

_INTERIORS = Source(
    name="search-interiors",
    what="search for an object in 134 grey interior scenes (1024 x 768) by 45 people, "
    "with 2 to 12 saccades allowed, and where they believed the target to be",
    url="https://github.com/NeuroLIAA/sibs",
    licence="MIT, as stated by the repository; the photographs have no licence of "
    "their own: research use, do not pass them on",
    citation="Bujia, Sclar, Vita, Solovey and Kamienkowski (2022). Modeling human "
    "visual search in natural scenes: a combined Bayesian searcher and saliency map "
    "approach. Frontiers in Systems Neuroscience 16:882315. "
    "doi:10.3389/fnsys.2022.882315.",
    loader="search_interiors:load_search_interiors",
    by_hand="The source is MatlabCode/data_new/new_matrix/sinfo_img of the repository "
    "above at commit ede770ef155b835bdd78def440ed014bb853c0a8, with pictures in "
    "MatlabCode/data_images. Write them into the tables trials.csv.gz, "
    "fixations.csv.gz and targets.csv that the loader reads (its documentation gives "
    "the columns), the pictures at half size into images_512x384.zip and the templates "
    "into templates.zip.",
)

_NATURAL = Source(
    name="natural-search",
    what="search in object arrays, natural scenes and Waldo pictures (1280 x 1024) by "
    "15 people, and the scanpaths of eccNET and IVSN on the same displays; no pictures",
    url=_ASYMMETRY,
    licence="the repository states none: research use, not redistributed here",
    citation=f"{_GUPTA} Zhang, Feng, Ma, Lim, Zhao and Kreiman (2018). Finding any "
    "Waldo with zero-shot invariant and efficient visual search. Nature "
    "Communications 9:3730. doi:10.1038/s41467-018-06217-x.",
    loader="natural_search:load_natural_search",
    by_hand="Clone the repository above at commit "
    "2e41a9ed6b3a02b7a827ef8f3d3903a5e700d323: its vs_saccade_exp/out holds the "
    "arrays (fix, ifix, cp, target_pos) that the loader reads. Pictures, for `neurovis "
    "run search-natural`, go to dataset/NAME/{stimuli,target,gt} beside out.",
)

_WOLFE = Source(
    name="wolfe-search",
    what="87811 trials of feature, conjunction and spatial configuration search, set "
    "sizes 3 to 18: reaction times and errors, no eye movements",
    url="https://github.com/yxlin/HBM-Approach-Visual-Search",
    licence="CC BY-NC 4.0 (repository); published for modelling by the Visual "
    "Attention Lab, who ask to be named",
    citation="Wolfe, Palmer and Horowitz (2010). Reaction time distributions constrain "
    "models of visual search. Vision Research 50:1304-1311. Palmer, Horowitz, Torralba "
    "and Wolfe (2011). What are the shapes of response time distributions in visual "
    "search? JEP: HPP 37:58-71. Lin, Heinke and Humphreys (2015). Attention, "
    "Perception & Psychophysics 77:985-1010.",
    loader="wolfe_search:load_wolfe_search",
    by_hand="The source is the R file data/WolfePalmer/wolfe2010RawDataAllTasks.RData "
    "at commit 9f96b3a80222ea4610a1b6c1905e9e7a0f94690a. Write it into the table "
    "trials.csv.gz that the loader reads; its documentation gives the columns.",
)

_NSD = Source(
    name="nsd",
    what="7 T fMRI of eight people who saw up to 10000 natural scenes each, up to "
    "three times: single-trial betas in volumes and on surfaces, regions, noise "
    "ceilings, behaviour, pictures",
    url="https://naturalscenesdataset.org",
    licence="terms of the authors, to be accepted with a form before access; no "
    "redistribution",
    citation="Allen, St-Yves, Wu, Breedlove, Prince, Dowdle, Nau, Caron, Pestilli, "
    "Charest, Hutchinson, Naselaris and Kay (2022). A massive 7T fMRI dataset to "
    "bridge cognitive neuroscience and artificial intelligence. Nature Neuroscience "
    "25:116-126. doi:10.1038/s41593-021-00962-x.",
    loader="nsd:check_nsd",
    by_hand="Accept the terms on the site, then copy with the AWS command line from "
    "s3://natural-scenes-dataset, keeping the folders: nsddata/experiments, "
    "nsddata/ppdata, nsddata/freesurfer/*/label, one space and preparation of "
    "nsddata_betas/ppdata, and nsddata_stimuli/stimuli/nsd/nsd_stimuli.hdf5 for the "
    "pictures. `neurovis data simulate nsd` writes a small tree of the same form.",
)

_ALGONAUTS = Source(
    name="algonauts",
    what="the challenge data of Algonauts 2023: averaged fsaverage betas of the eight "
    "people of NSD in visual cortex, with pictures and regions",
    url="https://github.com/gifale95/algonauts_2023",
    licence="that of NSD, whose terms must be accepted first",
    citation="Gifford, Lahner, Saba-Sadiya, Vilas, Lascelles, Oliva, Kay, Roig and "
    "Cichy (2023). The Algonauts Project 2023 challenge: how the human brain makes "
    "sense of natural scenes. arXiv:2301.03198.",
    loader="algonauts:check_algonauts",
    by_hand="Get one archive per subject from the site of the challenge "
    "(algonauts.csail.mit.edu/2023) and unpack all into one folder (subj01, subj02 "
    "...). `neurovis data simulate algonauts` writes a small one of the same form.",
)

_OBJECTS_FMRI = Source(
    name="objects-fmri",
    what="fMRI of one person: betas of 696 voxels in seven regions for 65 object "
    "categories, with two sets of features; no pictures",
    url="https://github.com/QuantumMatter/cracking-the-code-dw1",
    licence="the repository states none: research use, not redistributed here",
    citation="the repository names no study; design and regions are those of Bonner "
    "and Epstein (2021). Object representations in the human brain reflect the "
    "co-occurrence statistics of vision and language. Nature Communications 12:4081. "
    "doi:10.1038/s41467-021-24368-2.",
    loader="objects_fmri:load_objects_fmri",
    by_hand="The sources are python_roi_data (Python objects: open it only if you "
    "trust it), alexnet.mat and word2vec.mat of the repository above at commit "
    "68f7c3b6ac79daa1ea037bcd1dd529edf4bb2207. Write them into the arrays of data.npz "
    "that the loader reads; its documentation gives their names.",
)

_V4 = Source(
    name="v4-images",
    what="macaque V4: mean spike counts of 33 to 89 neurons to 640 or 1000 colour "
    "pictures in four recordings of three animals, with pictures",
    url="https://github.com/cowleygroup/V4_compact_models",
    licence="GPL-3.0, as the repository states; the photographs have no licence of "
    "their own: research use, not redistributed here",
    citation="Cowley, Stan, Pillow and Smith (2023). Compact deep neural network "
    "models of visual cortex. bioRxiv. doi:10.1101/2023.11.22.568315. Bashivan, Kar "
    "and DiCarlo (2019). Neural population control via deep image synthesis. Science "
    "364:eaav9436. doi:10.1126/science.aav9436.",
    loader="v4_images:check_v4_images",
    by_hand="The source is data_V4_responses of the repository above at commit "
    "f4552ad9d34a466ebc66658f72a08a8e5038f1cf. Write each recording into "
    "responses_NAME.npz and images_NAME.zip as the documentation of the loader says.",
)

_OBJECTS92 = Source(
    name="objects92",
    what="dissimilarities of 92 object pictures in monkey IT, human IT, behaviour and "
    "models, with pictures",
    url="https://github.com/rsagroup/rsatoolbox",
    licence="MIT, as the repository states; pictures and matrices are the authors' "
    "supplementary data: research use, cite",
    citation="Kriegeskorte, Mur, Ruff, Kiani, Bodurka, Esteky, Tanaka and Bandettini "
    "(2008). Matching categorical object representations in inferior temporal cortex "
    "of man and monkey. Neuron 60:1126-1141. doi:10.1016/j.neuron.2008.10.043. Mur et "
    "al. (2013). Human object-similarity judgments reflect and transcend the "
    "primate-IT object representation. Frontiers in Psychology 4:128. "
    "doi:10.3389/fpsyg.2013.00128.",
    loader="rdm_sets:load_objects92",
    by_hand="The source is demos/92imageData of the repository above at commit "
    "f1f83cadb7243492a1aae7460466e0f0140b20ac. Write it into rdms.npz, stimuli.csv "
    "and images.zip as the documentation of the loader says.",
)

_NET2BRAIN78 = Source(
    name="net2brain78",
    what="dissimilarities of 78 photographs in EVC and IT of 15 people, with "
    "pictures; the people hardly agree",
    url="https://github.com/cvai-roig-lab/Net2Brain",
    licence="MIT, as the repository states; the origin of the photographs is not "
    "stated: research use",
    citation="Bersch et al. (2022). Net2Brain: a toolbox to compare artificial vision "
    "models with human brain responses. arXiv:2208.09677.",
    loader="rdm_sets:load_net2brain78",
    by_hand="The source is net2brain/tests/data of the repository above at commit "
    "b59ed47dc88e3c120e43f5726ede126e902843e8. Write it into rdms.npz, stimuli.csv "
    "and images.zip as the documentation of the loader says.",
)

_FLOC = Source(
    name="floc",
    what="660 grey pictures of a localiser of category-selective regions: two "
    "categories each of faces, bodies, characters, objects and places, and scrambled "
    "pictures, 60 of each",
    url="https://github.com/VPNL/fLoc",
    licence="the repository has no licence file and offers the pictures to "
    "researchers, who are asked to cite; they show real people: research use, not "
    "redistributed here",
    citation="Stigliani, Weiner and Grill-Spector (2015). Temporal processing capacity "
    "in high-level visual cortex is domain specific. Journal of Neuroscience "
    "35:12412-12424. doi:10.1523/JNEUROSCI.4822-14.2015.",
    loader="category_pictures:check_category_pictures",
    by_hand="The source is stimuli of the repository above at commit "
    "de6a26cc269a2c7075461a4c839bfd628f225c95. Put pictures into the folder (60 of "
    "each category at 224 x 224 px were chosen here), as they are or in images.zip, "
    "and write the table stimuli.csv that the loader reads; its documentation gives "
    "the columns.",
)

_SCENES15 = Source(
    name="scenes15",
    what="2098 grey pictures of 15 kinds of scenes, 128 px, 100 of each to learn from "
    "and 40 to test",
    url="https://github.com/jaaumeadrover/Landscape-Image-Classification",
    licence="none given; the authors distribute the set for research: not "
    "redistributed here",
    citation="Lazebnik, Schmid and Ponce (2006). Beyond bags of features. CVPR. "
    "doi:10.1109/CVPR.2006.68. Oliva and Torralba (2001). International Journal of "
    "Computer Vision 42:145-175. doi:10.1023/A:1011139631724.",
    loader="class_folders:check_class_folder",
    by_hand="The source is data of the repository above at commit "
    "7985b6b6e532f94f96da7dee74eb9a0ae7972083. Put pictures into train/CLASS and "
    "test/CLASS, in folders or in images.zip (here the short side was made 128 px and "
    "the middle kept); a table labels.csv with file, split and category may list "
    "them.",
)

_FLICKR8K = Source(
    name="flickr8k",
    what="40000 captions of 8000 photographs, 4382 pairs judged by experts and 35630 "
    "by a crowd; no pictures",
    url="https://github.com/prakhar-dhakar/Image-Captioning",
    licence="free for research with citation, as the release says; no open licence",
    citation="Hodosh, Young and Hockenmaier (2013). Framing image description as a "
    "ranking task: data, models and evaluation metrics. JAIR 47:853-899. "
    "doi:10.1613/jair.3994.",
    loader="flickr8k:check_flickr8k",
    by_hand="The source is the text release of Flickr8k in the repository above at "
    "commit 5ab3142167da9315c4287173ed24a643a0425ab8. Write Flickr8k.token.txt with "
    "the three lists of pictures (trainImages, devImages, testImages) into "
    "captions.csv.gz, pictures of no list left out, ExpertAnnotations.txt into "
    "expert_judgements.csv.gz and CrowdFlowerAnnotations.txt into "
    "crowd_judgements.csv.gz; the documentation of the loader gives the columns.",
)

SOURCES: Mapping[str, Source] = MappingProxyType(
    {
        source.name: source
        for source in (
            Source(
                name="search-asymmetry",
                what="mean reaction times of people and published indices of eccNET "
                "and its ablations in six search-asymmetry experiments; ships",
                url="https://arxiv.org/abs/2106.02953",
                licence="published facts",
                citation=_GUPTA,
            ),
            Source(
                name="search-asymmetry-trials",
                what="trials of eccNET, its ablations and baselines "
                "(asymmetry_trials.csv.gz: model, condition, set_size, fixations)",
                url=_ASYMMETRY,
                licence="the repository states none: research use, not redistributed "
                "here",
                citation=_GUPTA,
                loader="search_humans:load_published_trials",
                by_hand="The source is vs_exp of the repository above at commit "
                "2e41a9ed6b3a02b7a827ef8f3d3903a5e700d323. Write its trials into the "
                "table asymmetry_trials.csv.gz that the loader reads; its "
                "documentation gives the columns.",
            ),
            _AMAZON,
            _OSIE,
            _COCO,
            _INTERIORS,
            _NATURAL,
            _WOLFE,
            _NSD,
            _ALGONAUTS,
            _OBJECTS_FMRI,
            _V4,
            _OBJECTS92,
            _NET2BRAIN78,
            _FLOC,
            _SCENES15,
            _FLICKR8K,
            *CHOICE_SOURCES,
        )
    }
)
