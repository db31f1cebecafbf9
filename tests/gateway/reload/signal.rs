//! The binary: SIGHUP, and what the log says.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, ChildStderr, Command, Stdio};

use super::site::{CALIBRATED, Site, calibration, damaged_pack, key, pack};
use crate::support::PATIENCE;

struct Running {
    child: Child,
    /// What it said at the start.
    said: String,
    log: BufReader<ChildStderr>,
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Running {
    fn start(site: &Site) -> Running {
        let mut child = Command::new(env!("CARGO_BIN_EXE_thinkgate"))
            .args(["serve", "--listen", "127.0.0.1:0", "--config"])
            .arg(site.path("thinkgate.toml"))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary runs");
        let mut out = BufReader::new(child.stdout.take().expect("piped"));
        let mut said = String::new();
        while !said.contains("listening on") {
            assert_ne!(out.read_line(&mut said).expect("UTF-8"), 0, "it ended: {said}");
        }
        let log = BufReader::new(child.stderr.take().expect("piped"));
        Running { child, said, log }
    }

    fn signal(&self, name: &str) {
        let sent =
            Command::new("kill").args([name, &self.child.id().to_string()]).status().expect("kill runs");
        assert!(sent.success());
    }

    /// The log up to the first line with these words. Blocks, so call it where it may.
    fn log_until(mut self, words: &'static str) -> (Running, String) {
        let mut text = String::new();
        while !text.contains(words) {
            assert_ne!(self.log.read_line(&mut text).expect("UTF-8"), 0, "no {words:?} in {text}");
        }
        (self, text)
    }

    async fn logs(self, words: &'static str) -> (Running, String) {
        let id = self.child.id().to_string();
        let read = tokio::task::spawn_blocking(move || self.log_until(words));
        match tokio::time::timeout(PATIENCE, read).await {
            Ok(read) => read.expect("no panic"),
            Err(_) => {
                // Ends the reading, which then shows what was read.
                let _ = Command::new("kill").arg(id).status();
                panic!("never {words:?}");
            }
        }
    }
}

#[cfg(unix)]
#[tokio::test]
async fn a_hangup_reloads_and_the_log_says_what_came_of_it() {
    let site = Site::new(&(key("first") + &key("second"))).await;
    let running = Running::start(&site);
    for line in [
        "up               dense Qwen/Qwen3-4B at".to_owned(),
        format!("1, version {}, {}", site.rules_version(), site.path("rules").display()),
        format!("version {}, {}", site.classifier_version(), site.path("model.bin").display()),
        "calibration      none, the score alone says where to think: none is configured".to_owned(),
        "api (by default), debug".to_owned(),
        "2: first, second".to_owned(),
    ] {
        assert!(running.said.contains(&line), "no {line:?} in {}", running.said);
    }
    // Nothing has changed, so that only the signal can be the reason.
    running.signal("-HUP");
    let (running, text) = running.logs("read again").await;
    assert!(text.contains("SIGHUP") && text.matches("unchanged").count() == 4, "{text}");

    site.write("rules/proof.toml", pack("second"));
    let version = site.rules_version();
    running.signal("-HUP");
    let (running, text) = running.logs("read again").await;
    assert!(text.contains("rules") && text.contains(&version), "{text}");

    site.write("rules/proof.toml", damaged_pack());
    running.signal("-HUP");
    let (running, text) = running.logs("proof.ask").await;
    for words in ["ERROR", &version, "rules.dir", "proof.toml:2", "does not fire on its own example"] {
        assert!(text.contains(words), "no {words:?} in {text}");
    }

    let elsewhere = site.config(&(key("first") + &key("second"))).replace("name = \"up\"", "name = \"down\"");
    site.write("thinkgate.toml", elsewhere + "[server]\nlisten = \"127.0.0.1:1\"\n");
    running.signal("-HUP");
    let (mut running, text) = running.logs("restart").await;
    assert!(text.contains("thinkgate.toml: server.listen, models: changed"), "{text}");

    running.signal("-TERM");
    let mut rest = String::new();
    running.log.read_to_string(&mut rest).expect("UTF-8");
    assert!(running.child.wait().expect("ends").success(), "{rest}");
}

#[cfg(unix)]
#[tokio::test]
async fn a_calibration_that_a_restart_would_leave_out_is_told() {
    let site = Site::new(CALIBRATED).await;
    site.write("calibration.toml", calibration("up", 2.0));
    let running = Running::start(&site);
    let line = format!("version {}, {}", site.calibration_version(), site.path("calibration.toml").display());
    assert!(running.said.contains(&line), "no {line:?} in {}", running.said);
    let (running, text) = running.logs("calibrate again").await;
    assert!(text.contains("fitted to the scores of rules other and classifier none"), "{text}");

    let elsewhere = site.config(CALIBRATED).replace("name = \"up\"", "name = \"down\"");
    site.write("thinkgate.toml", elsewhere);
    running.signal("-HUP");
    let (running, text) = running.logs("until the restart").await;
    let last = text.lines().last().expect("a line");
    for words in [
        "WARN",
        "thinkgate.toml: calibration.path",
        "calibration.toml:",
        "no model \"up\"; configured are down",
        "left out",
    ] {
        assert!(last.contains(words), "no {words:?} in {last}");
    }
    assert!(text.contains("calibration=\"unchanged\""), "{text}");

    // Made for the models to come: the last good one stays until then.
    site.replace("calibration.toml", calibration("down", 2.0));
    running.signal("-HUP");
    let (_running, text) = running.logs("read again").await;
    for words in
        ["ERROR", "no model \"down\"; configured are up", "wait for a restart", "calibration=\"refused\""]
    {
        assert!(text.contains(words), "no {words:?} in {text}");
    }
}
