"""The networks that Swin-UMamba is compared with; each is built from plans, like ours."""
