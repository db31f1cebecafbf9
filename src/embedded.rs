//! The models inside this program: small enough to ship, real enough to run every path.

use std::borrow::Cow;

use thinkgate_engine::ModelFiles;

macro_rules! files {
    ($folder:literal) => {
        ModelFiles {
            config_json: Cow::Borrowed(include_bytes!(concat!("../models/", $folder, "/config.json"))),
            generation_config_json: Some(Cow::Borrowed(include_bytes!(concat!(
                "../models/",
                $folder,
                "/generation_config.json"
            )))),
            tokenizer_json: Cow::Borrowed(include_bytes!(concat!("../models/", $folder, "/tokenizer.json"))),
            tokenizer_config_json: Cow::Borrowed(include_bytes!(concat!(
                "../models/",
                $folder,
                "/tokenizer_config.json"
            ))),
            chat_template: None,
            weights: vec![(
                "model.safetensors".to_owned(),
                Cow::Borrowed(include_bytes!(concat!("../models/", $folder, "/model.safetensors"))),
            )],
        }
    };
}

/// The files of an embedded model.
#[must_use]
pub fn files(name: &str) -> Option<ModelFiles> {
    match name {
        "pico-dense" => Some(files!("pico-dense")),
        "pico-moe" => Some(files!("pico-moe")),
        _ => None,
    }
}
