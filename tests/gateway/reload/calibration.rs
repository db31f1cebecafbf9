//! What thinking buys on a model changes, or is damaged.

use serde_json::Value;

use super::parts::{reconfigured, status};
use super::site::{CALIBRATED, Site, calibration, key};
use crate::support::{Gateway, ask, header, json_of};

/// Undecided by the rules, so that what thinking gains settles it.
const UNDECIDED: &str = "Tell me about it.";

/// Rules and a calibration by which thinking pays, and the gateway.
async fn calibrated(more: &str) -> (Site, Gateway) {
    let site = Site::new(&format!("{CALIBRATED}{more}")).await;
    site.write("model.bin", "");
    site.write("calibration.toml", calibration("up", 2.0));
    let gateway = site.gateway().await;
    (site, gateway)
}

/// Mode and version of the calibration that a prompt is decided with.
async fn decided(gateway: &Gateway) -> (String, Option<String>) {
    let decision = gateway.decision(UNDECIDED).await;
    let text = |value: &Value| value.as_str().map(str::to_owned);
    (text(&decision["thinking"]["mode"]).expect("a mode"), text(&decision["versions"]["calibration"]))
}

#[tokio::test]
async fn another_calibration_takes_over() {
    let (site, gateway) = calibrated("").await;
    let first = site.calibration_version();
    assert_eq!(decided(&gateway).await, ("on".to_owned(), Some(first.clone())));
    site.replace("calibration.toml", calibration("up", 0.0));
    let second = site.calibration_version();
    assert_ne!(first, second);
    gateway.serves("calibration", &second).await;
    assert_eq!(decided(&gateway).await, ("off".to_owned(), Some(second.clone())));
    let response = gateway.chat(&ask(UNDECIDED)).send().await.expect("a response");
    assert!(header(&response, "x-thinkgate-versions").ends_with(&format!(";calibration={second}")));
    gateway.metric("thinkgate_reloads_total{outcome=\"loaded\",part=\"calibration\"} 1").await;
    let line =
        |version: &str| format!("thinkgate_loaded_info{{part=\"calibration\",version=\"{version}\"}} 1");
    gateway.metric(&line(&second)).await;
    assert!(!gateway.app.recorder.metrics.text().contains(&line(&first)));
    let ready = gateway.ready().await;
    assert!(ready["since"]["calibration"].as_f64() > ready["since"]["rules"].as_f64(), "{ready}");
}

#[tokio::test]
async fn a_calibration_is_turned_off_and_on() {
    let (site, gateway) = calibrated("").await;
    let version = site.calibration_version();
    reconfigured(&site, &gateway, "").await;
    assert_eq!(decided(&gateway).await, ("off".to_owned(), None));
    let ready = gateway.ready().await;
    assert_eq!(
        (&ready["versions"]["calibration"], &ready["errors"]["calibration"]),
        (&Value::Null, &Value::Null)
    );
    assert!(!gateway.decision(UNDECIDED).await["notes"].to_string().contains("calibration"));
    reconfigured(&site, &gateway, CALIBRATED).await;
    assert_eq!(decided(&gateway).await, ("on".to_owned(), Some(version)));
}

#[tokio::test]
async fn another_configuration_keeps_the_calibration() {
    let (site, gateway) = calibrated("").await;
    let before = decided(&gateway).await;
    assert_eq!(before.0, "on");
    let without_directives = format!("{CALIBRATED}{}text_directives = false\n", key("own"));
    reconfigured(&site, &gateway, &without_directives).await;
    let request = gateway.post("/v1/decision", &ask(UNDECIDED)).bearer_auth("own");
    let decision = json_of(request.send().await.expect("a response")).await;
    assert_eq!(decision["thinking"]["mode"], "on");
    assert_eq!(decision["versions"]["calibration"].as_str(), before.1.as_deref());
    let ready = gateway.ready().await;
    assert_eq!(ready["last_reload"]["outcomes"]["config"], "loaded");
    assert_eq!(ready["last_reload"]["outcomes"]["calibration"], "unchanged");
}

#[tokio::test]
async fn other_rules_keep_the_calibration() {
    let (site, gateway) = calibrated("").await;
    let before = decided(&gateway).await;
    site.replace("rules/proof.toml", super::site::pack("second"));
    gateway.serves("rules", &site.rules_version()).await;
    assert_eq!(decided(&gateway).await, before);
}

#[tokio::test]
async fn the_gain_asked_for_reloads_also_while_the_profiles_are_damaged() {
    let (site, gateway) = calibrated("").await;
    let version = Some(site.calibration_version());
    reconfigured(&site, &gateway, &format!("{CALIBRATED}gain_per_1000_tokens = 0.9\n")).await;
    assert_eq!(decided(&gateway).await, ("off".to_owned(), version.clone()));
    site.write("calibration.toml", "format = 2");
    gateway.refuses("calibration").await;
    reconfigured(&site, &gateway, CALIBRATED).await;
    assert_eq!(decided(&gateway).await, ("on".to_owned(), version));
}

#[tokio::test]
async fn a_damaged_calibration_leaves_the_last_good_one() {
    let (site, gateway) = calibrated("").await;
    let version = site.calibration_version();
    let before = decided(&gateway).await;
    let sound = calibration("up", 2.0);
    let (cut, _) = sound.split_once("[models.up.tokens_with]").expect("its last table");
    for (text, says) in [
        (String::new(), "missing field `format`"),
        (sound.replace("format = 1", "format = 2"), "format: 2, but this program reads 1"),
        (sound.replace("base = 2.0", "base = nan"), "models.up.gain: expected finite numbers, got NaN"),
        (sound.replace("base = 2.0", "base = \"2\""), "models.up.gain.base: invalid type: string \"2\""),
        (sound.replace("rows = 100", "row = 100"), "models.up.row: unknown field `row`"),
        (cut.to_owned(), "missing field `tokens_with`"),
        (calibration("down", 2.0), "models: no model \"down\"; configured are up"),
    ] {
        assert_ne!(text, sound, "{says}");
        site.write("calibration.toml", &text);
        let told = gateway.refuses("calibration").await;
        for words in ["thinkgate.toml: calibration.path", "calibration.toml:", says] {
            assert!(told.contains(words), "no {words:?} in {told}");
        }
        assert_eq!(decided(&gateway).await, before);
        gateway.metric("thinkgate_reload_refused{part=\"calibration\"} 1").await;
        site.write("calibration.toml", &sound);
        gateway.serves("calibration", &version).await;
        gateway.metric("thinkgate_reload_refused{part=\"calibration\"} 0").await;
    }
    std::fs::remove_file(site.path("calibration.toml")).expect("removed");
    let told = gateway.refuses("calibration").await;
    assert!(told.contains("cannot read") && told.contains("No such file"), "{told}");
    assert_eq!(decided(&gateway).await, before);
}

#[tokio::test]
async fn a_damaged_calibration_keeps_no_key_in_force() {
    let (site, gateway) = calibrated(&(key("old") + &key("lasting"))).await;
    site.write("calibration.toml", "damaged");
    gateway.refuses("calibration").await;
    reconfigured(&site, &gateway, &format!("{CALIBRATED}{}", key("lasting"))).await;
    assert_eq!((status(&gateway, "old").await, status(&gateway, "lasting").await), (401, 200));
}

#[tokio::test]
async fn a_gateway_starts_without_its_calibration_and_takes_it_when_it_comes() {
    for damaged in [None, Some("damaged".to_owned()), Some(calibration("down", 2.0))] {
        let site = Site::new(CALIBRATED).await;
        site.write("model.bin", "");
        if let Some(text) = &damaged {
            site.write("calibration.toml", text);
        }
        let gateway = site.gateway().await;
        assert_eq!(gateway.ready().await["status"], "ready");
        assert!(gateway.refuses("calibration").await.contains("calibration.path"));
        gateway.metric("thinkgate_loaded_info{part=\"calibration\",version=\"none\"} 1").await;
        assert_eq!(decided(&gateway).await, ("off".to_owned(), None));
        let absent =
            async || gateway.decision("hi").await["notes"].to_string().contains("calibration absent");
        assert!(absent().await);
        // Another configuration does not make it forgotten.
        reconfigured(&site, &gateway, &format!("{CALIBRATED}[presets.deep]\nunsure = \"on\"\n")).await;
        assert!(absent().await);
        site.replace("calibration.toml", calibration("up", 2.0));
        gateway.serves("calibration", &site.calibration_version()).await;
        assert_eq!(decided(&gateway).await, ("on".to_owned(), Some(site.calibration_version())));
        assert!(!absent().await);
    }
}
