//! However a file changes, and whenever.

use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use thinkgate::app::App;
use thinkgate::config::Config;
use thinkgate::loaded::Part;
use thinkgate::reload::reload;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::site::{Site, classifier_of, pack, rules_version};
use crate::support::Gateway;

#[tokio::test]
async fn a_file_may_be_written_in_place_renamed_removed_and_added() {
    let site = Site::new("").await;
    let gateway = site.gateway().await;
    let in_force = async |what: &str| {
        let version = site.rules_version();
        gateway.serves("rules", &version).await;
        assert_eq!(gateway.decision("hi").await["versions"]["rules"], version, "{what}");
        version
    };
    let first = in_force("at the start").await;
    site.write("rules/proof.toml", pack("again"));
    assert_ne!(in_force("in place").await, first);
    site.replace("rules/proof.toml", pack("anew!"));
    in_force("renamed").await;
    let other = pack("other").replace("proof.ask", "more.ask");
    site.write("rules/more.toml", other);
    in_force("added").await;
    std::fs::remove_file(site.path("rules/more.toml")).expect("removed");
    in_force("removed").await;
    site.write("rules/proof.toml", pack("first"));
    assert_eq!(in_force("back again").await, first);
}

/// As Kubernetes mounts a ConfigMap: every file is a link through one link, which is swapped.
#[cfg(unix)]
#[tokio::test]
async fn a_swapped_link_changes_everything_at_once() {
    use std::os::unix::fs::symlink;
    let site = Site::new("").await;
    let at = |name: &str| site.path(name);
    let version = |n: &str| {
        std::fs::create_dir_all(at(n).join("rules")).expect("created");
        site.write(&format!("{n}/thinkgate.toml"), site.config(&format!("[presets.{n}]\nunsure = \"on\"\n")));
        for (name, text) in
            [("strengths", include_str!("../../../rules/strengths.toml")), ("proof", &pack(n))]
        {
            site.write(&format!("{n}/rules/{name}.toml"), text);
        }
        site.write(&format!("{n}/model.bin"), classifier_of(n));
    };
    let point_to = |n: &str| {
        symlink(n, at("..next")).expect("linked");
        std::fs::rename(at("..next"), at("..data")).expect("renamed");
    };
    version("one");
    version("two");
    point_to("one");
    std::fs::remove_dir_all(at("rules")).expect("removed");
    for name in ["thinkgate.toml", "rules", "model.bin"] {
        let _ = std::fs::remove_file(at(name));
        symlink(Path::new("..data").join(name), at(name)).expect("linked");
    }
    let gateway = site.gateway().await;
    gateway.serves("rules", &rules_version(&at("one/rules"))).await;
    point_to("two");
    gateway.serves("rules", &rules_version(&at("two/rules"))).await;
    gateway.serves("classifier", &site.classifier_version()).await;
    let presets = &gateway.app.loaded().config.presets;
    assert!(presets.contains_key("two") && !presets.contains_key("one"));
}

#[tokio::test]
async fn a_request_keeps_the_version_it_came_in_under() {
    let site = Site::new("").await;
    let gateway = site.gateway().await;
    let before = site.rules_version();
    let body = r#"{"messages": [{"role": "user", "content": "Prove it."}]}"#;
    let (first, rest) = body.split_at(20);
    let mut slow = begun(&gateway, body.len(), first).await;
    site.replace("rules/proof.toml", pack("second"));
    let after = site.rules_version();
    gateway.serves("rules", &after).await;
    slow.write_all(rest.as_bytes()).await.expect("sent");
    let mut answer = String::new();
    slow.read_to_string(&mut answer).await.expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(answer.contains(&before) && !answer.contains(&after), "{answer}");
    assert_eq!(gateway.decision("Prove it.").await["versions"]["rules"], after);
}

/// A pipe holds the reading up, so that files change in the middle of it for certain.
#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn what_changes_while_it_is_read_does_not_take_over() {
    let site = Site::new("").await;
    let config = Config::load(Some(&site.path("thinkgate.toml"))).expect("valid");
    let app = App::new(config).expect("loads");
    let before = site.rules_version();
    let in_force = || app.loaded().standing(Part::Rules).version.clone();
    std::fs::remove_file(site.path("model.bin")).expect("removed");
    assert!(Command::new("mkfifo").arg(site.path("model.bin")).status().expect("mkfifo runs").success());

    site.write("rules/proof.toml", pack("half of a change"));
    let reading = Arc::clone(&app);
    let reading = tokio::task::spawn_blocking(move || reload(&reading));
    // Opens when the other end is read from, which comes after the rules.
    let mut pipe = std::fs::OpenOptions::new().write(true).open(site.path("model.bin")).expect("opened");
    site.write("rules/other.toml", pack("the other half").replace("proof.", "other."));
    pipe.write_all(&classifier_of("first")).expect("written");
    drop(pipe);
    assert!(reading.await.expect("no panic").is_none());
    assert_eq!(in_force().as_deref(), Some(before.as_str()));

    site.replace("model.bin", classifier_of("first"));
    assert!(reload(&app).is_some());
    assert_eq!(in_force(), Some(site.rules_version()));
}

/// A request for a decision whose head has reached the gateway, and of its body `first`.
async fn begun(gateway: &Gateway, length: usize, first: &str) -> TcpStream {
    let mut stream = TcpStream::connect(gateway.address).await.expect("connected");
    let head = format!(
        "POST /v1/decision HTTP/1.1\r\nhost: x\r\ncontent-length: {length}\r\nexpect: 100-continue\r\n\
         connection: close\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.expect("sent");
    // Told to go on when the handler asks for the body: by then the request is in.
    let mut told = [0; 25];
    stream.read_exact(&mut told).await.expect("told to go on");
    assert_eq!(&told, b"HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(first.as_bytes()).await.expect("sent");
    stream
}
