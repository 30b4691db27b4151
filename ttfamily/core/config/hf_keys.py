"""Keys of a config.json that mean the same for every family: those that change nothing, and those that are refused."""

# ruff: noqa: SIM905 -- the inert keys as a literal would take eighty lines

from __future__ import annotations

INERT = frozenset(
    # who made the file, and for which classes
    "architectures model_type transformers_version _name_or_path name_or_path _commit_hash tokenizer_class "
    "transformers.js_config unsloth_fixed unsloth_version license "
    # token ids: the tokenizer and the generation loop act on them, the graph does not
    "bos_token_id eos_token_id pad_token_id sep_token_id decoder_start_token_id forced_bos_token_id "
    "forced_eos_token_id "
    # what the weights were stored as; the precision policy decides what they become
    "dtype torch_dtype use_bfloat16 "
    # training only
    "initializer_range attention_dropout hidden_dropout residual_dropout embedding_dropout attn_pdrop embd_pdrop "
    "resid_pdrop classifier_dropout "
    "gradient_checkpointing "
    # how Hugging Face runs the same graph: slices of one matmul, a chosen kernel, what is returned
    "pretraining_tp chunk_size_feed_forward use_cache attn_implementation _attn_implementation "
    "_attn_implementation_autoset _experts_implementation return_dict output_attentions output_hidden_states "
    "output_scores return_dict_in_generate torchscript tf_legacy_loss keys_to_ignore_at_inference "
    # heads other than the language model's
    "id2label label2id num_labels problem_type finetuning_task task_specific_params prefix "
    # defaults of generate(), which older versions of transformers wrote here
    "max_length min_length max_new_tokens do_sample early_stopping num_beams num_beam_groups diversity_penalty "
    "temperature top_k top_p typical_p repetition_penalty length_penalty no_repeat_ngram_size "
    "encoder_no_repeat_ngram_size bad_words_ids num_return_sequences remove_invalid_values "
    "exponential_decay_length_penalty suppress_tokens begin_suppress_tokens".split()
)
"""Keys that cannot change what the model computes at inference."""

NUMBERS = frozenset(
    "attention_multiplier attn_logit_softcapping embedding_multiplier final_logit_softcapping head_dim logit_scale "
    "logits_scaling max_window_layers n_routed_experts num_experts num_experts_per_tok num_local_experts "
    "partial_rotary_factor query_pre_attn_scalar residual_multiplier rope_theta rotary_pct sliding_window".split()
)
"""Keys that are numbers wherever they appear: an empty text or list there is damage, not a switch that is off."""

REFUSED = {
    "auto_map": (
        "a model whose code is part of ttfamily or of an installed plugin, since code from a checkpoint is never run",
        "Install a plugin for this model, or remove auto_map if the architecture is an ordinary one.",
    ),
    "quantization_config": (
        "weights in a floating-point format",
        "Take the unquantised checkpoint, or save this one as bfloat16; ttfamily quantises on its own (precision=).",
    ),
}
