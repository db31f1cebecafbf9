//! What each part does when it changes, and when it is damaged.

use super::site::{Site, classifier_of, damaged_pack, key, pack};
use crate::support::{Gateway, ask, json_of};

pub(super) async fn status(gateway: &Gateway, key: &str) -> u16 {
    let request = gateway.post("/v1/decision", &ask("hi")).bearer_auth(key);
    request.send().await.expect("a response").status().as_u16()
}

/// Waits until another configuration is in force.
pub(super) async fn reconfigured(site: &Site, gateway: &Gateway, more: &str) {
    let before = gateway.ready().await["versions"]["config"].clone();
    site.configure(more);
    gateway.until("another configuration", |ready| ready["versions"]["config"] != before).await;
}

#[tokio::test]
async fn keys_are_added_and_withdrawn() {
    let site = Site::new(&key("old")).await;
    let gateway = site.gateway().await;
    assert_eq!((status(&gateway, "old").await, status(&gateway, "new").await), (200, 401));
    reconfigured(&site, &gateway, &(key("new") + &key("old"))).await;
    assert_eq!((status(&gateway, "old").await, status(&gateway, "new").await), (200, 200));
    // A rule that is damaged at the same time keeps no key in force.
    site.write("rules/proof.toml", damaged_pack());
    reconfigured(&site, &gateway, &key("new")).await;
    assert_eq!((status(&gateway, "old").await, status(&gateway, "new").await), (401, 200));
}

#[tokio::test]
async fn the_last_key_is_not_withdrawn_by_a_reload() {
    let site = Site::new(&key("only")).await;
    let gateway = site.gateway().await;
    // Also what an editor leaves for a moment that empties a file before writing it.
    site.write("thinkgate.toml", "");
    gateway.refuses("config").await;
    assert_eq!((status(&gateway, "only").await, status(&gateway, "other").await), (200, 401));
}

#[tokio::test]
async fn only_holders_of_a_key_read_why_a_file_was_refused() {
    let site = Site::new(&key("mine")).await;
    let gateway = site.gateway().await;
    site.write("rules/proof.toml", damaged_pack());
    let told = gateway.refuses("rules").await;
    assert!(!told.contains("proof") && told.contains("log"), "{told}");
    let page = json_of(gateway.get("/readyz").bearer_auth("mine").send().await.expect("a response")).await;
    assert!(
        page["errors"]["rules"]["message"].as_str().is_some_and(|text| text.contains("proof.toml")),
        "{page}"
    );
    let page = json_of(gateway.get("/readyz").bearer_auth("wrong").send().await.expect("a response")).await;
    assert_eq!(page["errors"]["rules"]["message"], told.as_str());
}

#[tokio::test]
async fn presets_change_what_undecided_prompts_get() {
    let site = Site::new("").await;
    site.write("model.bin", "");
    let gateway = site.gateway().await;
    assert_eq!(gateway.decision("Tell me about it.").await["thinking"]["mode"], "off");
    reconfigured(&site, &gateway, "[policy]\npreset = \"deep\"\n[presets.deep]\nunsure = \"on\"\n").await;
    let decision = gateway.decision("Tell me about it.").await;
    assert_eq!(
        (&decision["thinking"]["mode"], &decision["thinking"]["source"]),
        (&"on".into(), &"default".into())
    );
    let mut named = ask("hi");
    named["model"] = "deep".into();
    assert_eq!(gateway.post("/v1/decision", &named).send().await.expect("a response").status(), 200);
    // The file no longer names the model, but the gateway still runs it.
    let elsewhere =
        site.config("[presets.up]\nunsure = \"on\"\n").replace("name = \"up\"", "name = \"down\"");
    site.write("thinkgate.toml", elsewhere);
    let told = gateway.refuses("config").await;
    assert!(told.contains("thinkgate.toml") && told.contains("presets") && told.contains("up"), "{told}");
}

#[tokio::test]
async fn strengths_count_as_rules_do() {
    let site = Site::new("").await;
    site.write("model.bin", "");
    let gateway = site.gateway().await;
    let before = gateway.decision("Prove it.").await["score"].as_f64().expect("a number");
    let strengths = include_str!("../../../rules/strengths.toml").replace("strong   = 1.8", "strong   = 3.5");
    site.replace("rules/strengths.toml", strengths);
    gateway.serves("rules", &site.rules_version()).await;
    let after = gateway.decision("Prove it.").await["score"].as_f64().expect("a number");
    assert!(after > before + 0.05, "{before} {after}");
}

#[tokio::test]
async fn damaged_rules_are_told_with_file_line_and_rule() {
    let site = Site::new("").await;
    let gateway = site.gateway().await;
    let version = site.rules_version();
    let strengths = include_str!("../../../rules/strengths.toml");
    let case = "[[case]]\nprompt = \"Prove it.\"\ntags = [\"baseline\"]\nthinking = \"off\"\n";
    let cut = pack("cut off");
    for (name, text, says) in [
        (
            "rules/proof.toml",
            damaged_pack(),
            "proof.toml:2: rule proof.ask: does not fire on its own example",
        ),
        ("rules/proof.toml", cut[..cut.len() - 20].to_owned(), "proof.toml"),
        ("rules/proof.toml", pack("x").replace(r"\bprove\b", "(prove"), "proof.toml:2: rule proof.ask: any"),
        ("rules/strengths.toml", strengths.replace("weak     = 0.4", "weak     = 9.4"), "strengths.toml"),
        ("rules/proof.cases.toml", case.to_owned(), "proof.cases.toml case 1: thinking: expected Off"),
    ] {
        site.replace(name, text);
        let told = gateway.refuses("rules").await;
        assert!(told.contains("rules.dir") && told.contains(says), "no {says:?} in {told}");
        assert_eq!(gateway.decision("Prove it.").await["versions"]["rules"], version.as_str());
        let _ = std::fs::remove_file(site.path("rules/proof.cases.toml"));
        site.write("rules/proof.toml", pack("first"));
        site.write("rules/strengths.toml", strengths);
        gateway.serves("rules", &version).await;
    }
}

#[tokio::test]
async fn a_folder_that_does_not_exist_yet_is_waited_for() {
    let site = Site::new("").await;
    let gateway = site.gateway().await;
    let first = site.rules_version();
    site.write("thinkgate.toml", site.config("").replace("dir = \"rules\"", "dir = \"later\""));
    let told = gateway.refuses("rules").await;
    assert!(told.contains("later") && told.contains("No such file"), "{told}");
    assert_eq!(gateway.decision("hi").await["versions"]["rules"], first.as_str());
    site.write("rules/proof.toml", pack("moved"));
    std::fs::rename(site.path("rules"), site.path("later")).expect("renamed");
    gateway.serves("rules", &super::site::rules_version(&site.path("later"))).await;
}

#[tokio::test]
async fn a_damaged_classifier_leaves_the_last_good_one() {
    let site = Site::new("").await;
    let gateway = site.gateway().await;
    let version = site.classifier_version();
    let sound = classifier_of("first");
    let mut flipped = sound.clone();
    flipped[sound.len() / 2] ^= 1;
    for (bytes, says) in [
        (flipped, "checksum"),
        (sound[..1000].to_vec(), "bytes"),
        (b"something else".to_vec(), "not a classifier"),
    ] {
        site.write("model.bin", bytes);
        let told = gateway.refuses("classifier").await;
        assert!(
            told.contains("classifier.path") && told.contains("model.bin") && told.contains(says),
            "{told}"
        );
        assert_eq!(gateway.decision("hi").await["versions"]["classifier"], version.as_str());
        gateway.metric("thinkgate_reload_refused{part=\"classifier\"} 1").await;
        site.write("model.bin", &sound);
        gateway.serves("classifier", &version).await;
        gateway.metric("thinkgate_reload_refused{part=\"classifier\"} 0").await;
    }
    std::fs::remove_file(site.path("model.bin")).expect("removed");
    let told = gateway.refuses("classifier").await;
    assert!(told.contains("No such file"), "{told}");
    assert_eq!(gateway.decision("hi").await["versions"]["classifier"], version.as_str());
    site.replace("model.bin", classifier_of("second"));
    gateway.serves("classifier", &site.classifier_version()).await;
    let line =
        |version: &str| format!("thinkgate_loaded_info{{part=\"classifier\",version=\"{version}\"}} 1");
    gateway.metric(&line(&site.classifier_version())).await;
    assert!(!gateway.app.recorder.metrics.text().contains(&line(&version)));
}

#[tokio::test]
async fn a_gateway_starts_without_its_classifier_and_takes_it_when_it_comes() {
    let site = Site::new("").await;
    std::fs::remove_file(site.path("model.bin")).expect("removed");
    let gateway = site.gateway().await;
    let ready = gateway.ready().await;
    assert_eq!((&ready["status"], &ready["last_reload"]), (&"ready".into(), &serde_json::Value::Null));
    assert!(gateway.refuses("classifier").await.contains("model.bin"));
    assert!(gateway.decision("hi").await["notes"].to_string().contains("classifier absent"));
    site.write("model.bin", classifier_of("late"));
    gateway.serves("classifier", &site.classifier_version()).await;
    assert!(!gateway.decision("hi").await["notes"].to_string().contains("classifier absent"));
}

#[tokio::test]
async fn the_classifiers_vote_is_turned_off_and_on() {
    let site = Site::new("").await;
    let gateway = site.gateway().await;
    let config = site.config("");
    let with = |keys: &str| config.replace("path = \"model.bin\"", keys);
    let builtin = thinkgate::classifier::Classifier::builtin().expect("loads").version;
    for (keys, version) in [
        ("path = \"model.bin\"\nenabled = false", None),
        ("enabled = true", Some(builtin.clone())),
        ("enabled = false", None),
        ("path = \"model.bin\"\nenabled = true", Some(site.classifier_version())),
        ("", Some(builtin)),
    ] {
        let before = gateway.ready().await["versions"]["config"].clone();
        site.write("thinkgate.toml", with(keys));
        gateway.until("another configuration", |ready| ready["versions"]["config"] != before).await;
        let found = &gateway.decision("hi").await["versions"]["classifier"];
        assert_eq!(found.as_str(), version.as_deref(), "{keys}");
    }
}
