//! Models of the hub: downloaded once, whole or not at all, and found again without a network.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, Response, Uri};
use futures_util::{StreamExt, stream};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use thinkgate::config::{Config, Source};
use tokio::net::TcpListener;

const COMMIT: &str = "c1899de289a04d12100db370d81485cdf75e47ca";
const FILES: [&str; 5] =
    ["config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors"];

/// What the hub does with one request.
type Answer = Box<dyn Fn(&Hub, &str, &HeaderMap) -> Option<Response<Body>> + Send + Sync>;

struct Hub {
    /// Name and content.
    files: Vec<(String, Bytes)>,
    /// Looked at before the usual answer.
    special: Answer,
    /// Paths asked for, and from which byte.
    asked: Mutex<Vec<(String, String)>>,
    tokens: Mutex<Vec<String>>,
}

/// A hub that listens, and a cache of its own.
struct Setup {
    hub: Arc<Hub>,
    endpoint: String,
    cache: tempfile::TempDir,
}

fn usual(_: &Hub, _: &str, _: &HeaderMap) -> Option<Response<Body>> {
    None
}

fn status(code: u16) -> Response<Body> {
    Response::builder().status(code).body(Body::empty()).expect("valid")
}

fn hash(content: &[u8]) -> String {
    Sha256::digest(content).iter().map(|byte| format!("{byte:02x}")).collect()
}

impl Hub {
    /// Weights are large files there, the rest is kept in git.
    fn listing(&self) -> Value {
        let entry = |(name, content): &(String, Bytes)| {
            let hash = hash(content);
            match name.contains("safetensors") || name.contains("gguf") {
                true => json!({"rfilename": name, "size": content.len(), "blobId": "0".repeat(40),
                               "lfs": {"sha256": hash, "size": content.len(), "pointerSize": 134}}),
                false => json!({"rfilename": name, "size": content.len(), "blobId": &hash[..40]}),
            }
        };
        json!({"sha": COMMIT, "siblings": self.files.iter().map(entry).collect::<Vec<_>>()})
    }

    fn answer(&self, path: &str, headers: &HeaderMap) -> Response<Body> {
        let header =
            |name: &str| headers.get(name).and_then(|it| it.to_str().ok()).unwrap_or_default().to_owned();
        self.asked.lock().expect("unbroken").push((path.to_owned(), header("range")));
        self.tokens.lock().expect("unbroken").push(header("authorization"));
        if let Some(answer) = (self.special)(self, path, headers) {
            return answer;
        }
        if path.starts_with("/api/models/Qwen/Pico/revision/") {
            return Response::new(self.listing().to_string().into());
        }
        let name = path.strip_prefix(&format!("/Qwen/Pico/resolve/{COMMIT}/")).unwrap_or_default();
        let Some((_, content)) = self.files.iter().find(|(file, _)| file == name) else { return status(404) };
        match header("range")
            .strip_prefix("bytes=")
            .and_then(|range| range.strip_suffix('-')?.parse::<usize>().ok())
        {
            Some(start) => Response::builder()
                .status(206)
                .header("content-range", format!("bytes {start}-{}/{}", content.len() - 1, content.len()))
                .body(content.slice(start..).into())
                .expect("valid"),
            None => Response::new(content.clone().into()),
        }
    }

    fn asked_for(&self, what: &str) -> Vec<String> {
        let asked = self.asked.lock().expect("unbroken");
        asked.iter().filter(|(path, _)| path.contains(what)).map(|(_, range)| range.clone()).collect()
    }
}

impl Setup {
    async fn start(files: Vec<(String, Bytes)>, special: Answer) -> Setup {
        let hub = Arc::new(Hub { files, special, asked: Mutex::default(), tokens: Mutex::default() });
        let answer = |State(hub): State<Arc<Hub>>, uri: Uri, headers: HeaderMap| async move {
            hub.answer(uri.path(), &headers)
        };
        let router = Router::new().fallback(answer).with_state(Arc::clone(&hub));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let endpoint = format!("http://{}", listener.local_addr().expect("bound"));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Setup { hub, endpoint, cache: tempfile::tempdir().expect("a folder") }
    }

    /// What a gateway does that starts with one model of the hub.
    async fn load(&self, name: &str) -> Result<PathBuf, String> {
        self.load_with(name, &[("HF_TOKEN", "hf_secret")]).await
    }

    async fn load_with(&self, name: &str, variables: &[(&str, &str)]) -> Result<PathBuf, String> {
        let text = format!("[[models]]\nname = \"m\"\npath = \"hf:{name}\"\n");
        let mut environment = vec![
            ("HF_ENDPOINT".to_owned(), self.endpoint.clone()),
            ("HF_HOME".to_owned(), self.cache.path().display().to_string()),
        ];
        environment.extend(variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        let load = move || {
            let look_up = |name: &str| {
                environment.iter().find(|(variable, _)| variable == name).map(|(_, value)| value.clone())
            };
            let config = Config::parse_fetching(&text, None, Path::new(""), &look_up, |_| ());
            match config.map_err(|error| error.to_string())?.models.remove(0).source {
                Source::Path(path) => Ok(path),
                other => panic!("{other:?}"),
            }
        };
        // Reading a configuration blocks, and the hub of this test must go on answering.
        tokio::task::spawn_blocking(load).await.expect("does not panic")
    }

    fn folder(&self) -> PathBuf {
        self.cache.path().join("hub/models--Qwen--Pico")
    }
}

fn pico() -> Vec<(String, Bytes)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/pico-dense");
    let mut files: Vec<(String, Bytes)> = FILES
        .iter()
        .filter_map(|name| Some(((*name).to_owned(), fs::read(folder.join(name)).ok()?.into())))
        .collect();
    for beside in ["README.md", "pytorch_model.bin", "onnx/model.safetensors", "consolidated.safetensors"] {
        files.push((beside.to_owned(), Bytes::from_static(b"not needed")));
    }
    files
}

#[tokio::test]
async fn a_model_is_downloaded_once_and_then_needs_no_network() {
    let setup = Setup::start(pico(), Box::new(usual)).await;
    let path = setup.load("Qwen/Pico").await.expect("loads");
    assert_eq!(path, setup.folder().join("snapshots").join(COMMIT));
    assert_eq!(fs::read_to_string(setup.folder().join("refs/main")).expect("written"), COMMIT);
    for (name, content) in &setup.hub.files {
        let fetched = fs::read(path.join(name)).ok();
        assert_eq!(fetched.as_deref(), FILES.contains(&name.as_str()).then_some(&content[..]), "{name}");
    }
    let blob =
        setup.folder().join("blobs").join(hash(&fs::read(path.join("model.safetensors")).expect("there")));
    assert!(blob.is_file(), "content lies under its hash");
    let tokens = setup.hub.tokens.lock().expect("unbroken").clone();
    assert!(tokens.iter().all(|token| token == "Bearer hf_secret"), "{tokens:?}");

    let asked = setup.hub.asked.lock().expect("unbroken").len();
    assert_eq!(setup.load("Qwen/Pico").await, Ok(path.clone()));
    assert_eq!(setup.load_with("Qwen/Pico", &[("HF_HUB_OFFLINE", "1")]).await, Ok(path));
    assert_eq!(setup.hub.asked.lock().expect("unbroken").len(), asked, "nothing was asked for again");
}

#[tokio::test]
async fn a_body_that_breaks_off_goes_on_where_it_stopped() {
    let special = |hub: &Hub, path: &str, headers: &HeaderMap| {
        let cut = path.ends_with("model.safetensors") && !headers.contains_key("range");
        let content =
            hub.files.iter().find(|(name, _)| name == "model.safetensors").map(|(_, it)| it.clone());
        cut.then(|| {
            let begun = stream::iter([Ok(content.expect("there").slice(..5000))]);
            let end = stream::once(async {
                tokio::time::sleep(Duration::from_millis(100)).await; // what was sent before has arrived
                Err(std::io::Error::other("broken"))
            });
            Response::new(Body::from_stream(begun.chain(end)))
        })
    };
    let setup = Setup::start(pico(), Box::new(special)).await;
    let path = setup.load("Qwen/Pico").await.expect("loads");
    assert_eq!(setup.hub.asked_for("model.safetensors"), ["", "bytes=5000-"]);
    let fetched = fs::read(path.join("model.safetensors")).expect("there");
    assert_eq!(
        fetched,
        setup.hub.files.iter().find(|(name, _)| name == "model.safetensors").expect("there").1
    );
    let left = fs::read_dir(setup.folder().join("blobs")).expect("there").flatten();
    assert!(left.into_iter().all(|file| file.path().extension().is_none()), "no incomplete file is left");
}

#[tokio::test]
async fn what_an_earlier_start_left_is_taken_up() {
    let setup = Setup::start(pico(), Box::new(usual)).await;
    let weights =
        setup.hub.files.iter().find(|(name, _)| name == "model.safetensors").expect("there").1.clone();
    let blobs = setup.folder().join("blobs");
    fs::create_dir_all(&blobs).expect("made");
    fs::write(blobs.join(format!("{}.incomplete", hash(&weights))), &weights[..777]).expect("written");
    setup.load("Qwen/Pico").await.expect("loads");
    assert_eq!(setup.hub.asked_for("model.safetensors"), ["bytes=777-"]);
}

#[tokio::test]
async fn content_that_is_not_what_the_hub_states_is_refused_and_forgotten() {
    for (body, complaint) in [(vec![7; 100], "SHA-256"), (vec![7; 101], "longer than")] {
        let mut files = pico();
        files.retain(|(name, _)| name != "model.safetensors");
        files.push(("model.safetensors".to_owned(), Bytes::from(vec![1; 100])));
        let special = move |_: &Hub, path: &str, _: &HeaderMap| {
            path.ends_with("model.safetensors").then(|| Response::new(body.clone().into()))
        };
        let setup = Setup::start(files, Box::new(special)).await;
        let refused = setup.load("Qwen/Pico").await.expect_err("refused");
        assert!(refused.contains(complaint) && refused.contains("model.safetensors"), "{refused}");
        assert!(!setup.folder().join("refs").exists(), "{complaint}: the model is not in the cache");
        assert!(!setup.folder().join("blobs").join(hash(&[1; 100])).exists(), "{complaint}");
    }
}

#[tokio::test]
async fn who_may_not_have_it_is_told_why() {
    for (code, hint) in
        [(401, "HF_TOKEN"), (403, "accept its terms"), (404, "not there"), (418, "status 418")]
    {
        let special =
            move |_: &Hub, path: &str, _: &HeaderMap| path.starts_with("/api").then(|| status(code));
        let setup = Setup::start(Vec::new(), Box::new(special)).await;
        let refused = setup.load("Qwen/Pico@v1.0").await.expect_err("refused");
        assert!(refused.contains(hint) && refused.contains("models[0].path"), "{code}: {refused}");
        assert!(!refused.contains("hf_secret"), "{refused}");
    }
    let setup = Setup::start(pico(), Box::new(usual)).await;
    let offline = setup.load_with("Qwen/Pico", &[("HF_HUB_OFFLINE", "1")]).await.expect_err("refused");
    assert!(offline.contains("HF_HUB_OFFLINE"), "{offline}");
    let nobody = [("HF_ENDPOINT", "http://127.0.0.1:1")];
    let mut unreachable = Setup::start(Vec::new(), Box::new(usual)).await;
    nobody.iter().for_each(|(_, address)| unreachable.endpoint = (*address).to_owned());
    let refused = unreachable.load("Qwen/Pico").await.expect_err("refused");
    assert!(refused.contains("http://127.0.0.1:1") && refused.contains("not on this machine"), "{refused}");
}

#[tokio::test]
async fn a_repository_must_hold_what_can_be_run() {
    let several =
        || ["a-q4_0.gguf", "a-q8_0.gguf"].map(|name| (name.to_owned(), Bytes::from_static(b"GGUF"))).to_vec();
    let setup = Setup::start(several(), Box::new(usual)).await;
    let refused = setup.load("Qwen/Pico").await.expect_err("refused");
    assert!(refused.contains("hf:Qwen/Pico/a-q4_0.gguf or a-q8_0.gguf"), "{refused}");
    // The named one is fetched alone; that it is no model is found out when it is opened.
    let refused = setup.load("Qwen/Pico/a-q8_0.gguf").await.expect_err("refused");
    assert!(refused.contains("this GGUF file cannot be read"), "{refused}");
    assert_eq!(setup.hub.asked_for("a-q4_0.gguf").len(), 0);
    assert_eq!(setup.hub.asked_for("a-q8_0.gguf").len(), 1);

    let useless = ["pytorch_model.bin", "../../../x.gguf", ".x.gguf"];
    let useless = useless.map(|name| (name.to_owned(), Bytes::new())).to_vec();
    let setup = Setup::start(useless, Box::new(usual)).await;
    let refused = setup.load("Qwen/Pico").await.expect_err("refused");
    assert!(refused.contains("neither a GGUF file nor safetensors"), "{refused}");

    let hostile = |_: &Hub, path: &str, _: &HeaderMap| {
        let files = ["config.json", "tokenizer.json", "model.safetensors"].map(
            |name| json!({"rfilename": name, "size": 1, "blobId": "../../../../../../../../../../etc/passwd"}),
        );
        path.starts_with("/api")
            .then(|| Response::new(json!({"sha": COMMIT, "siblings": files}).to_string().into()))
    };
    let refused =
        Setup::start(Vec::new(), Box::new(hostile)).await.load("Qwen/Pico").await.expect_err("refused");
    assert!(refused.contains("states no size and content"), "{refused}");
}

#[tokio::test]
async fn faults_of_the_file_are_told_before_anything_is_fetched() {
    let setup = Setup::start(pico(), Box::new(usual)).await;
    let refused = setup.load("Qwen/Pico\"\nnonsense = \"").await.expect_err("refused");
    assert!(refused.contains("nonsense"), "{refused}");
    assert!(setup.hub.asked.lock().expect("unbroken").is_empty());
}
