"""The demo: a small Llama, trained here, run on a mesh and compared with Hugging Face."""
