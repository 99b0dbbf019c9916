"""Systems that are trained for segmentation on captions: what only their training needs."""
