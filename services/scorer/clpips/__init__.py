"""CLPIPS: LPIPS whose linear weights learn the eye of a person or a crowd from rankings.

LPIPS is linear in its weights: d = w . v, where v holds, per channel of all layers, the spatial mean of the squared
difference of unit-normalized features. So v is computed once per pair; a head is a vector w >= 0, a score one dot
product, and learning from rankings a small problem in w alone. Source: Trinh et al. 2026, "CLPIPS: A Personalized
Metric for AI-Generated Image Similarity". Pure functions and frozen values: no torch, transport or storage.
Heads themselves are in `services.common.heads`, because the gateway scores by them.

    rankings    what people ranked, pairs of it, splits by target
    margin      the paper's recipe: margin ranking loss, Adam
    convex      a ranking loss with a prior around a parent's weights: few rankings, milliseconds
    alignment   agreement of heads with people, side by side, as in the paper's tables 3 and 4
    fitting     a person's new head, or the parent's where the new one is worse on held-out rankings
"""
