//! Many requests and many reloads, good and bad, at once.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::task::JoinSet;

use super::site::{CALIBRATED, Site, calibration, classifier_of, damaged_pack, key, pack};
use crate::support::{Gateway, ask, header, json_of};

const CLIENTS: usize = 16;
const ROUNDS: usize = 6;

/// What one client saw.
#[derive(Default)]
struct Seen {
    requests: usize,
    /// Rules, classifier and calibration of each response, together.
    versions: BTreeSet<[String; 3]>,
}

/// Asks without pause, by both routes in turn, until told to stop. Every answer must be one.
async fn ask_on(gateway: Arc<Gateway>, stop: Arc<AtomicBool>) -> Seen {
    let mut seen = Seen::default();
    while !stop.load(Ordering::Relaxed) {
        let route = if seen.requests % 2 == 0 { "/v1/decision" } else { "/v1/chat/completions" };
        let request = gateway.post(route, &ask("Prove that 2 is prime.")).bearer_auth("lasting");
        let response = request.send().await.expect("a response");
        assert_eq!(response.status(), 200);
        let versions = header(&response, "x-thinkgate-versions").to_owned();
        let (rules, rest) = versions.split_once(";classifier=").expect("both");
        let rules = rules.strip_prefix("rules=").expect("named");
        let (classifier, calibration) = rest.split_once(";calibration=").expect("all three");
        let body = json_of(response).await;
        if route == "/v1/decision" {
            assert_eq!(body["versions"]["rules"], rules);
            assert_eq!(body["versions"]["classifier"], classifier);
            assert_eq!(body["versions"]["calibration"], calibration);
        } else {
            assert_eq!(body["choices"][0]["message"]["content"], "x");
        }
        seen.versions.insert([rules, classifier, calibration].map(str::to_owned));
        seen.requests += 1;
    }
    seen
}

#[tokio::test(flavor = "multi_thread")]
async fn no_request_fails_and_nothing_damaged_is_served() {
    let site = Site::new(&format!("{CALIBRATED}{}", key("lasting"))).await;
    site.write("calibration.toml", calibration("up", 2.0));
    let gateway = Arc::new(site.gateway().await);
    let stop = Arc::new(AtomicBool::new(false));
    let mut clients = JoinSet::new();
    for _ in 0..CLIENTS {
        clients.spawn(ask_on(Arc::clone(&gateway), Arc::clone(&stop)));
    }
    let mut sound = BTreeSet::new();
    let mut now = [site.rules_version(), site.classifier_version(), site.calibration_version()];
    sound.insert(now.clone());
    for round in 0..ROUNDS {
        site.replace("rules/proof.toml", pack(&format!("round {round}")));
        now[0] = site.rules_version();
        sound.insert(now.clone());
        gateway.serves("rules", &now[0]).await;
        site.write("rules/proof.toml", damaged_pack());
        gateway.refuses("rules").await;

        let classifier = classifier_of(&format!("round {round}"));
        site.replace("model.bin", &classifier);
        now[1] = site.classifier_version();
        sound.insert(now.clone());
        gateway.serves("classifier", &now[1]).await;
        site.write("model.bin", &classifier[..classifier.len() / 2]);
        gateway.refuses("classifier").await;

        let text = calibration("up", f64::from(u8::try_from(round).expect("few")) / 2.0);
        site.replace("calibration.toml", &text);
        now[2] = site.calibration_version();
        sound.insert(now.clone());
        gateway.serves("calibration", &now[2]).await;
        site.write("calibration.toml", &text[..text.len() / 2]);
        gateway.refuses("calibration").await;

        site.configure(&format!("{CALIBRATED}{}{}", key("lasting"), key(&format!("round-{round}"))));
        let request = || gateway.get("/v1/models").bearer_auth(format!("round-{round}"));
        gateway.until("config sound", |ready| ready["errors"]["config"].is_null()).await;
        until_status(request, 200).await;
        site.write("thinkgate.toml", "[[keys]]\nname = \"x\n");
        gateway.refuses("config").await;
        until_status(request, 200).await;
    }
    stop.store(true, Ordering::Relaxed);
    let mut seen = BTreeSet::new();
    let mut requests = 0;
    while let Some(client) = clients.join_next().await {
        let client = client.expect("every request was answered");
        seen.extend(client.versions);
        requests += client.requests;
    }
    assert!(seen.is_subset(&sound), "{seen:?} are not all in {sound:?}");
    assert!(seen.len() > ROUNDS, "{} versions in {requests} requests", seen.len());
    for part in ["config", "rules", "classifier", "calibration"] {
        for outcome in ["loaded", "refused"] {
            let line = format!("thinkgate_reloads_total{{outcome=\"{outcome}\",part=\"{part}\"}}");
            assert!(counted(&gateway, &line) >= ROUNDS, "{line}");
        }
    }
}

async fn until_status(request: impl Fn() -> reqwest::RequestBuilder, status: u16) {
    let seen = async {
        while request().send().await.expect("a response").status() != status {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(crate::support::PATIENCE, seen).await.expect("in time");
}

fn counted(gateway: &Gateway, name: &str) -> usize {
    let text = gateway.app.recorder.metrics.text();
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|count| count.trim().parse().ok()).unwrap_or(0)
}
