"""What the paper gives, for the columns beside ours, and where it is wrong or silent.

A. Zhang, COVID-19 chest X-ray images: lung segmentation and diagnosis using neural networks (2020).
"""

from __future__ import annotations

REFERENCE = (
    "A. Zhang, COVID-19 chest X-ray images: lung segmentation and diagnosis using neural networks (2020)"
)

SEGMENTATION_ACCURACY = 0.9575
IOU = 0.8666
DICE = 0.9273
DIAGNOSIS_ACCURACY = 0.9666
MAJORITY_ACCURACY = 1787 / 1919
AUC = 0.985

CORRECTIONS = (
    "The two formulas that it prints for the ROC curve are exchanged, and the second is wrong. Here the true "
    "positive rate is TP / (TP + FN) and the false positive rate FP / (FP + TN); a false positive is an image "
    "without COVID-19 that is called COVID-19.",
    "It gives 6,393 images with a mask in one place and 6,396 in others; 6,396 is right. The public export "
    "holds 517 COVID-19 images, 435 of them with a mask, where the paper has 521 and 439.",
    "Its validation part both stops the training early and gives the reported figures, so these are "
    "somewhat too good.",
    "Its parts are drawn by image, not by patient: images of one patient fall on both sides, and the "
    "network can know a patient again.",
    "All COVID-19 images come from one collection and about 98 % of the others from one children's hospital, "
    "so that source, age and class are confounded.",
    "It does not give seeds, batch size, the filter counts, loss curves, or whether Dice and IoU are means over "
    "images or pooled over all pixels. Here are both averagings, and the filters of the Keras form that it names.",
)
