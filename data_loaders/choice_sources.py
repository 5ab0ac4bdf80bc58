"""Data sets of choices of people: where each comes from, and its terms."""

from data_loaders.source_record import Source

_THINGS_TRIPLETS = Source(
    name="things-triplets",
    what="odd-one-out choices on 2171 triplets of the 1854 objects of THINGS by "
    "people, GPT-4 and ChatGPT-3.5, with categories of the objects; no pictures",
    url="https://github.com/ChangdeDu/LLMs_core_dimensions",
    licence="MIT, as both repositories state",
    citation="Du et al. (2024). Human-like object concept representations emerge "
    "naturally in multimodal large language models. arXiv:2407.01067. Hebart, Zheng, "
    "Pereira and Baker (2020). Nature Human Behaviour 4:1173-1185. "
    "doi:10.1038/s41562-020-00951-3. Hebart et al. (2019). THINGS. PLoS ONE "
    "14:e0223792. doi:10.1371/journal.pone.0223792.",
    loader="things_triplets:check_things_triplets",
    by_hand="The choices are the files 2171trials_*.txt of "
    "analysis_and_figure_drawing/GPT3.5vsGPT4 of the repository above at commit "
    "fd1da6ab3bc1cc465eb909978a4c8a589013dac8: put them into the folder as "
    "triplets_humans.txt, triplets_gpt4.txt and triplets_chatgpt3.5.txt. concepts.tsv "
    "has the columns Word, uniqueID, Concreteness (M) and the three categories of "
    "data/files/things_concepts.tsv of https://github.com/ViCCo-Group/THINGSvision at "
    "commit 1fbcc07ca8c96322fef7713de31969805829769d.",
)

_MODEL_VS_HUMAN = Source(
    name="model-vs-human",
    what="85120 trials of people (90 observers in 17 experiments) who named distorted "
    "pictures with one of 16 categories, and trials of networks in three of the "
    "experiments; no pictures",
    url="https://github.com/bethgelab/model-vs-human",
    licence="code MIT; of the data, cue-conflict, edge and silhouette CC BY 4.0, the "
    "twelve distortions from a CC BY 4.0 repository, sketch MIT; the ImageNet pictures "
    "have their own terms",
    citation="Geirhos, Temme, Rauber, Schütt, Bethge and Wichmann (2018). "
    "Generalisation in humans and deep neural networks. NeurIPS 31. arXiv:1808.08750. "
    "Geirhos et al. (2019). ImageNet-trained CNNs are biased towards texture. ICLR. "
    "arXiv:1811.12231. Geirhos et al. (2021). Partial success in closing the gap "
    "between human and machine vision. NeurIPS 34. arXiv:2106.07411.",
    loader="model_vs_human:check_model_vs_human",
    by_hand="Clone the repository above at commit "
    "79ed7cd1d9ac3a114e71b6638f0a98bdd627316c; its raw-data is read as it is. Or join "
    "the files of an experiment into human/EXPERIMENT.csv.gz and cnn/EXPERIMENT.csv.gz "
    "(the networks here are those of github.com/rgeirhos/texture-vs-shape).",
)

_TEXTURE_SHAPE = Source(
    name="texture-shape",
    what="320 pictures whose shape and texture disagree, 160 edge drawings, 160 "
    "silhouettes, and decisions of eight people and three networks on all 1600 "
    "pictures of the experiments",
    url="https://github.com/rgeirhos/texture-vs-shape",
    licence="CC BY 4.0 for the pictures; none is stated for the decisions",
    citation="Geirhos, Rubisch, Michaelis, Bethge, Wichmann and Brendel (2019). "
    "ImageNet-trained CNNs are biased towards texture; increasing shape bias improves "
    "accuracy and robustness. ICLR. arXiv:1811.12231.",
    loader="texture_shape:check_texture_shape",
    by_hand="The sources are stimuli and raw-data of the repository above at commit "
    "ccd0c01d42c0a8a834e90ec141e7f24fa915dc23. Write them into cue_conflict.zip, "
    "edges_silhouettes.zip, cue_conflict_images.csv, responses.csv.gz and "
    "reference_values.json as the data card says.",
)

_PHYSION = Source(
    name="physion",
    what="how many people foresaw contact of two objects in each of 1144 movies of "
    "eight physical scenarios; no movies",
    url="https://github.com/cogtoolslab/physics-benchmarking-neurips2021",
    licence="MIT, as stated by the repository",
    citation="Bear et al. (2021). Physion: evaluating physical prediction from vision "
    "in humans and machines. NeurIPS Datasets and Benchmarks. arXiv:2106.08261.",
    loader="physion_human:check_physion_human",
    by_hand="Copy human_accuracy-SCENARIO_*.csv from results/csv/humans of the "
    "repository above at commit fd02f3f12f940c6689a7122e270e4923681024cf into the "
    "folder.",
)

CHOICE_SOURCES = (_MODEL_VS_HUMAN, _TEXTURE_SHAPE, _PHYSION, _THINGS_TRIPLETS)
"""Entries of `data_loaders.source_table.SOURCES`."""
