"""Tiny random models of the classes that `ovsslib.peers` reads from the hub, written as there.

Each is the real class of transformers with a few random weights, saved with a real processor and a
small tokenizer, and read back as any checkpoint is. Most see images of 48 to 64 pixels.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from ovsslib.datasets import load_dataset
from ovsslib.paths import data
from support.helpers import random_model, tiny_vocabulary

NAMES = ["sky", "grass", "traffic light", "house"]
_TEXT = {
    "hidden_size": 32, "num_attention_heads": 4, "intermediate_size": 48, "num_hidden_layers": 2,
    "vocab_size": 152,
}  # fmt: skip
_VISION = {
    "hidden_size": 32, "num_attention_heads": 4, "intermediate_size": 48, "num_hidden_layers": 3,
}  # fmt: skip


def some_images() -> list[Image.Image]:
    """Two of Diorama's and a strip of 1000 by 1 pixels."""
    diorama = load_dataset("diorama", None, "tune")
    strip = np.random.default_rng(0).integers(0, 256, (1, 1000, 3), np.uint8)
    return [diorama.image(diorama.ids[0]), diorama.image(diorama.ids[1]), Image.fromarray(strip)]


def wordpiece() -> Any:
    """micro-clip's tokenizer: 152 words and letters, [SEP] is 3."""
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(data("checkpoints", "micro-clip"))


def make_groupvit(folder: Path, *, seed: int = 0) -> Path:
    """`GroupViTModel` of two stages, 8 then 4 groups, images of 48 pixels."""
    from transformers import CLIPImageProcessor, CLIPProcessor, GroupViTConfig, GroupViTModel

    config = GroupViTConfig(
        text_config={**_TEXT, "max_position_embeddings": 40, "eos_token_id": 3},
        vision_config={
            **_VISION, "depths": [1, 1, 1], "num_group_tokens": [8, 4, 0],
            "num_output_groups": [8, 4, 0], "image_size": 48, "patch_size": 8,
        },
        projection_dim=24,
        projection_intermediate_dim=40,
    )  # fmt: skip
    model = random_model(GroupViTModel, config, seed=seed, spread=0.2)
    with torch.no_grad():  # so that an image has several groups
        model.vision_model.embeddings.position_embeddings.mul_(10)
        for stage in model.vision_model.encoder.stages[:2]:
            stage.downsample.norm_x.bias.zero_()
            for part in (stage.downsample.assign.q_proj, stage.downsample.assign.k_proj):
                part.weight.mul_(4)
                part.bias.zero_()
    model.save_pretrained(folder)
    pictures = CLIPImageProcessor(size={"shortest_edge": 48}, crop_size=48)
    CLIPProcessor(pictures, wordpiece()).save_pretrained(folder)
    return folder


def make_tipsv2(folder: Path, *, seed: int = 0) -> Path:
    """`Tipsv2Model` of 3 + 2 layers with two registers, images of 56 pixels, patches of 14."""
    from transformers import Tipsv2Config, Tipsv2ImageProcessor, Tipsv2Model, Tipsv2Processor

    config = Tipsv2Config(
        text_config={**_TEXT, "max_position_embeddings": 40},
        vision_config={
            "hidden_size": 32, "num_attention_heads": 4, "num_hidden_layers": 3, "image_size": 56,
            "patch_size": 14, "num_register_tokens": 2,
        },
    )  # fmt: skip
    random_model(Tipsv2Model, config, seed=seed, spread=0.1).save_pretrained(folder)
    pictures = Tipsv2ImageProcessor(size={"height": 56, "width": 56})
    Tipsv2Processor(pictures, wordpiece()).save_pretrained(folder)
    return folder


def make_siglip(folder: Path, *, naflex: bool = False, head: bool = True) -> Path:
    """`SiglipModel`, or with `naflex` `Siglip2Model`, of 3 + 2 layers, images of 48 pixels."""
    import transformers as tf

    vision = {**_VISION, "patch_size": 8, "vision_use_head": head}
    text = {**_TEXT, "max_position_embeddings": 40, "bos_token_id": 2, "eos_token_id": 3}
    square = {"height": 48, "width": 48}
    if naflex:
        config = tf.Siglip2Config(vision_config={**vision, "num_patches": 36}, text_config=text)
        model = random_model(tf.Siglip2Model, config, seed=0, spread=0.1)
        pictures = tf.Siglip2ImageProcessor(patch_size=8, max_num_patches=36)
        processor = tf.Siglip2Processor(pictures, wordpiece())
    else:
        config = tf.SiglipConfig(vision_config={**vision, "image_size": 48}, text_config=text)
        model = random_model(tf.SiglipModel, config, seed=0, spread=0.1)
        processor = tf.SiglipProcessor(tf.SiglipImageProcessor(size=square), wordpiece())
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def make_clipseg(folder: Path) -> Path:
    """`CLIPSegForImageSegmentation` of 3 + 2 layers; the processor's side is 64, CLIP's own 48."""
    from transformers import (
        CLIPSegConfig,
        CLIPSegForImageSegmentation,
        CLIPSegProcessor,
        ViTImageProcessor,
    )

    config = CLIPSegConfig(
        text_config={**_TEXT, "max_position_embeddings": 40, "eos_token_id": 3},
        vision_config={**_VISION, "image_size": 48, "patch_size": 8},
        projection_dim=24,
        extract_layers=[0, 1, 2],
        reduce_dim=16,
        decoder_intermediate_size=32,
    )
    random_model(CLIPSegForImageSegmentation, config, seed=0, spread=0.1).save_pretrained(folder)
    pictures = ViTImageProcessor(size={"height": 64, "width": 64})
    CLIPSegProcessor(pictures, wordpiece()).save_pretrained(folder)
    return folder


def make_owlv2(folder: Path) -> Path:
    """`Owlv2ForObjectDetection`: 36 boxes; texts of at most 16 tokens."""
    from transformers import (
        Owlv2Config,
        Owlv2ForObjectDetection,
        Owlv2ImageProcessor,
        Owlv2Processor,
    )

    config = Owlv2Config(
        text_config={**_TEXT, "max_position_embeddings": 16, "bos_token_id": 2, "eos_token_id": 3},
        vision_config={**_VISION, "image_size": 480, "patch_size": 80},
        projection_dim=32,
    )
    model = random_model(Owlv2ForObjectDetection, config, seed=0, spread=0.1)
    with torch.no_grad():  # or scores would be 0 and 1
        for part in (model.class_head.logit_scale, model.class_head.logit_shift):
            part.weight.mul_(0.1)
    model.save_pretrained(folder)
    pictures = Owlv2ImageProcessor(size={"height": 480, "width": 480})
    Owlv2Processor(pictures, wordpiece()).save_pretrained(folder)
    return folder


def bert() -> Any:
    """WordPiece with BERT's own numbers for [CLS], [SEP] and the full stop."""
    from transformers import BertTokenizer

    words = [f"[unused{index}]" for index in range(1100)]
    words[0], words[100:104] = "[PAD]", ["[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    words[1012], words[1029] = ".", "?"
    others = [word for word in tiny_vocabulary() if not word.startswith("[")]
    words[110 : 110 + len(others)] = others
    return BertTokenizer(vocab={word: k for k, word in enumerate(words)}, do_lower_case=True)


def make_grounding_dino(folder: Path) -> Path:
    """`GroundingDinoForObjectDetection`: 12 boxes, sentences of at most 32 tokens."""
    import transformers as tf

    config = tf.GroundingDinoConfig(
        backbone_config=tf.SwinConfig(
            image_size=64, embed_dim=16, depths=[1, 1, 1, 1], num_heads=[2, 2, 2, 2],
            window_size=4, out_indices=[2, 3, 4],
        ),
        text_config={
            **_TEXT, "model_type": "bert", "vocab_size": 1100, "max_position_embeddings": 64,
        },
        d_model=64, num_queries=12, encoder_layers=1, decoder_layers=2, encoder_ffn_dim=32,
        decoder_ffn_dim=32, encoder_attention_heads=4, decoder_attention_heads=4, max_text_len=32,
        encoder_n_points=2, decoder_n_points=2, disable_custom_kernels=True,
    )  # fmt: skip
    kind = tf.GroundingDinoForObjectDetection
    random_model(kind, config, seed=0, spread=0.05).save_pretrained(folder)
    pictures = tf.GroundingDinoImageProcessor(size={"shortest_edge": 64, "longest_edge": 96})
    tf.GroundingDinoProcessor(pictures, bert()).save_pretrained(folder)
    return folder


def make_sam2(folder: Path) -> Path:
    """`Sam2Model` for images of 64 pixels."""
    import transformers as tf

    config = tf.Sam2Config(
        vision_config={
            "backbone_config": {
                "model_type": "sam2_hiera_det_model", "hidden_size": 8, "image_size": [64, 64],
                "blocks_per_stage": [1, 1, 2, 1], "embed_dim_per_stage": [8, 16, 32, 64],
                "num_attention_heads_per_stage": [1, 1, 2, 4], "global_attention_blocks": [3],
                "window_size_per_stage": [8, 4, 4, 2],
            },
            "backbone_channel_list": [64, 32, 16, 8],
            "backbone_feature_sizes": [[16, 16], [8, 8], [4, 4]], "fpn_hidden_size": 32,
        },
        prompt_encoder_config={"hidden_size": 32, "image_size": 64, "patch_size": 16},
        mask_decoder_config={
            "hidden_size": 32, "mlp_dim": 32, "num_attention_heads": 4, "iou_head_hidden_dim": 32,
        },
    )  # fmt: skip
    random_model(tf.Sam2Model, config, seed=0, spread=0.1).save_pretrained(folder)
    size = {"height": 64, "width": 64}
    pictures = tf.Sam2ImageProcessor(size=size, mask_size={"height": 16, "width": 16})
    tf.Sam2Processor(pictures).save_pretrained(folder)
    return folder


def make_sam3(folder: Path) -> Path:
    """`Sam3Model` for images of 56 pixels, 8 instances."""
    import transformers as tf

    wide = {"hidden_size": 32, "num_attention_heads": 4}
    layers = {**wide, "num_layers": 1, "intermediate_size": 32, "dropout": 0.0}
    config = tf.Sam3Config(
        vision_config={
            "backbone_config": {
                "model_type": "sam3_vit_model", **_VISION, "image_size": 56, "patch_size": 14,
                "window_size": 2, "global_attn_indexes": [2], "pretrain_image_size": 28,
            },
            "fpn_hidden_size": 32, "backbone_feature_sizes": [[16, 16], [8, 8], [4, 4]],
        },
        text_config={
            "model_type": "clip_text_model", **_TEXT, "max_position_embeddings": 32,
            "projection_dim": 24, "eos_token_id": 3, "bos_token_id": 2, "pad_token_id": 0,
        },
        geometry_encoder_config=layers, detr_encoder_config=layers,
        detr_decoder_config={**layers, "num_queries": 8}, mask_decoder_config=wide,
    )  # fmt: skip
    model = random_model(tf.Sam3Model, config, seed=0, spread=0.1)
    with torch.no_grad():  # or the semantic map would hide all instances
        model.mask_decoder.semantic_projection.bias.sub_(2)
    model.save_pretrained(folder)
    pictures = tf.Sam3ImageProcessor(size={"height": 56, "width": 56})
    tf.Sam3Processor(pictures, wordpiece()).save_pretrained(folder)
    return folder
