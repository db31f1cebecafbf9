//! How does a model of the Hugging Face hub get into the cache?
//!
//! File by file into `blobs`, each under a name of its own until it is whole, so that what was interrupted goes on where it
//! stopped. Links and the revision's name come last: a model is in the cache altogether or not at all.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use reqwest::header::{AUTHORIZATION, CONTENT_RANGE, RANGE};
use reqwest::{Client, Response, StatusCode};
use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::Environment;
use super::Secret;
use super::hub::{self, Name};

/// A breakdown of the network is waited out so many times without progress.
const ATTEMPTS: u32 = 5;
/// Silence of this length is a breakdown.
const SILENCE: Duration = Duration::from_secs(30);
/// Lists of files are smaller.
const MAX_LISTING: usize = 32 << 20;

/// Brings a model into the cache, and returns when it is there. Says on the log how far it is.
///
/// # Errors
/// What is in the way, for the operator to read.
pub(super) fn fetch(name: &Name<'_>, environment: Environment<'_>) -> Result<(), String> {
    let folder = name.folder(environment)?;
    let hub = Hub::of(environment)?;
    // The caller may be inside a runtime, which must not be blocked, or outside of any.
    let work = || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.map_err(|error| error.to_string())?.block_on(hub.fetch(name, &folder))
    };
    std::thread::scope(|scope| scope.spawn(work).join()).unwrap_or_else(|_| Err("the download failed".into()))
}

struct Hub {
    endpoint: String,
    token: Option<Secret>,
    client: Client,
}

/// The hub's answer to "which files are there?".
#[derive(Deserialize)]
struct Listing {
    sha: String,
    #[serde(default)]
    siblings: Vec<Sibling>,
}

#[derive(Deserialize)]
struct Sibling {
    rfilename: String,
    #[serde(rename = "blobId")]
    blob: Option<String>,
    size: Option<u64>,
    lfs: Option<LargeFile>,
}

#[derive(Deserialize)]
struct LargeFile {
    sha256: String,
    size: u64,
}

/// A file to fetch.
struct Wanted {
    name: String,
    address: String,
    /// The content's name in the cache, as the hub states it.
    etag: String,
    size: u64,
    /// The etag is the content's SHA-256.
    hashed: bool,
}

/// What kept a file from coming.
enum Trouble {
    /// Trying again may help.
    Passing(String),
    Lasting(String),
}

impl Hub {
    fn of(environment: Environment<'_>) -> Result<Hub, String> {
        let set = |name: &str| environment(name).filter(|value| !value.is_empty());
        let offline = set("HF_HUB_OFFLINE").unwrap_or_default().to_ascii_uppercase();
        if ["1", "ON", "YES", "TRUE"].contains(&offline.as_str()) {
            return Err("HF_HUB_OFFLINE forbids to download it".to_owned());
        }
        let _ = rustls::crypto::ring::default_provider().install_default(); // the second time it is there already
        let client = Client::builder().connect_timeout(Duration::from_secs(10)).read_timeout(SILENCE);
        Ok(Hub {
            endpoint: set("HF_ENDPOINT")
                .map_or("https://huggingface.co".into(), |it| it.trim_end_matches('/').to_owned()),
            token: set("HF_TOKEN").or_else(|| stored_token(environment)).map(Secret::new),
            client: client.build().map_err(|error| told(&error))?,
        })
    }

    async fn fetch(&self, name: &Name<'_>, folder: &Path) -> Result<(), String> {
        let (commit, files) = self.wanted(name).await?;
        let (blobs, snapshot) = (folder.join("blobs"), folder.join("snapshots").join(&commit));
        for folder in [&blobs, &snapshot] {
            fs::create_dir_all(folder).map_err(|error| unusable(folder, &error))?;
        }
        for file in &files {
            self.bring(file, &blobs).await.map_err(|reason| format!("{}: {reason}", file.name))?;
        }
        for file in &files {
            link(&snapshot, file).map_err(|error| unusable(&snapshot.join(&file.name), &error))?;
        }
        if name.revision != commit {
            let refs = folder.join("refs");
            let put = fs::create_dir_all(&refs).and_then(|()| fs::write(refs.join(name.revision), &commit));
            put.map_err(|error| unusable(&refs, &error))?;
        }
        Ok(())
    }

    /// The commit, and those of its files that running the model takes.
    async fn wanted(&self, name: &Name<'_>) -> Result<(String, Vec<Wanted>), String> {
        let Name { owner, name: model, revision, .. } = name;
        let address = format!("{}/api/models/{owner}/{model}/revision/{revision}?blobs=true", self.endpoint);
        let answer = self.get(&address, 0).await.and_then(|answer| self.accept(answer, name));
        let mut answer = answer.map_err(Trouble::into_reason)?;
        let mut body = Vec::new();
        while let Some(piece) = answer.chunk().await.map_err(|error| told(&error))? {
            body.extend_from_slice(&piece);
            if body.len() > MAX_LISTING {
                return Err(format!("{address}: more than {MAX_LISTING} bytes"));
            }
        }
        let listing: Listing =
            serde_json::from_slice(&body).map_err(|error| format!("{address}: no list of files: {error}"))?;
        if !hub::is_plain(&listing.sha) {
            return Err(format!("{address}: no commit: {:?}", listing.sha));
        }
        let names: Vec<&str> = listing.siblings.iter().map(|file| file.rfilename.as_str()).collect();
        let chosen = name.choose(&names)?.map(str::to_owned);
        let files = listing.siblings.iter().filter(|file| is_needed(&file.rfilename, chosen.as_deref()));
        let base = format!("{}/{owner}/{model}/resolve/{}", self.endpoint, listing.sha);
        let mut files = files.map(|file| Wanted::of(file, &base)).collect::<Result<Vec<_>, _>>()?;
        files.sort_by_key(|file| file.size); // small ones tell sooner that something is wrong
        Ok((listing.sha, files))
    }

    async fn get(&self, address: &str, start: u64) -> Result<Response, Trouble> {
        let mut request = self.client.get(address);
        if let Some(token) = &self.token {
            request = request.header(AUTHORIZATION, format!("Bearer {}", token.reveal()));
        }
        if start > 0 {
            request = request.header(RANGE, format!("bytes={start}-"));
        }
        request.send().await.map_err(|error| Trouble::Passing(told(&error)))
    }

    /// The answer, if it is one.
    fn accept(&self, answer: Response, name: &Name<'_>) -> Result<Response, Trouble> {
        let Name { owner, name, revision, .. } = name;
        let page = format!("{}/{owner}/{name}", self.endpoint);
        match answer.status() {
            status if status.is_success() => Ok(answer),
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Err(Trouble::Lasting(format!(
                "{page} is gated, private or not there: accept its terms on that page and put a token that may read it \
                 in HF_TOKEN"
            ))),
            StatusCode::NOT_FOUND => {
                Err(Trouble::Lasting(format!("{page} has no revision {revision}, or is not there")))
            }
            status => Err(Trouble::of_status(status, &page)),
        }
    }

    /// The file's content, whole and checked, among the blobs.
    async fn bring(&self, wanted: &Wanted, blobs: &Path) -> Result<(), String> {
        let whole = blobs.join(&wanted.etag);
        let part = blobs.join(format!("{}.incomplete", wanted.etag));
        let bad = |error: std::io::Error| unusable(&part, &error);
        let mut file = OpenOptions::new().create(true).read(true).append(true).open(&part).map_err(bad)?;
        file.lock().map_err(bad)?; // another process may be at it; then it is there when that one is done
        if !whole.is_file() {
            self.complete(wanted, &mut file).await?;
            if wanted.hashed && hash_of(&part).map_err(bad)? != wanted.etag {
                fs::remove_file(&part).map_err(bad)?;
                return Err("what came is not what the hub says it is: its SHA-256 differs".to_owned());
            }
            file.sync_all().map_err(bad)?;
            return fs::rename(&part, &whole).map_err(bad);
        }
        let _ = fs::remove_file(&part); // of no matter to anyone
        Ok(())
    }

    /// Appends what is missing, however often the network breaks down, as long as it gets on.
    async fn complete(&self, wanted: &Wanted, file: &mut File) -> Result<(), String> {
        let mut failures = 0;
        loop {
            let before = length(file)?;
            match self.append(wanted, file).await {
                Ok(()) => return Ok(()),
                Err(Trouble::Lasting(reason)) => return Err(reason),
                Err(Trouble::Passing(reason)) => {
                    failures = if length(file)? > before { 1 } else { failures + 1 };
                    if failures >= ATTEMPTS {
                        return Err(reason);
                    }
                    tracing::warn!(file = wanted.name, reason, "the download broke off; trying again");
                    tokio::time::sleep(Duration::from_millis(250) * 2_u32.pow(failures - 1)).await;
                }
            }
        }
    }

    async fn append(&self, wanted: &Wanted, file: &mut File) -> Result<(), Trouble> {
        let mut done = length(file).map_err(Trouble::Lasting)?;
        if done > wanted.size {
            (done, _) = (0, file.set_len(0).map_err(written)?);
        }
        if done == wanted.size {
            return Ok(());
        }
        let mut answer = self.get(&wanted.address, done).await?;
        if !answer.status().is_success() {
            return Err(Trouble::of_status(answer.status(), &wanted.address));
        }
        if done > 0 && !goes_on_at(&answer, done) {
            (done, _) = (0, file.set_len(0).map_err(written)?); // the server sends it all again
        }
        let mut progress = Progress::new(wanted, done);
        while let Some(piece) = answer.chunk().await.map_err(|error| Trouble::Passing(told(&error)))? {
            done += piece.len() as u64;
            if done > wanted.size {
                return Err(Trouble::Lasting(format!(
                    "longer than the {} bytes the hub states",
                    wanted.size
                )));
            }
            file.write_all(&piece).map_err(written)?;
            progress.tell(done);
        }
        if done < wanted.size {
            return Err(Trouble::Passing(format!("ended after {done} of {} bytes", wanted.size)));
        }
        Ok(())
    }
}

impl Wanted {
    fn of(file: &Sibling, base: &str) -> Result<Wanted, String> {
        let name = file.rfilename.clone();
        let (etag, size) = match &file.lfs {
            Some(large) => (Some(&large.sha256), Some(large.size)),
            None => (file.blob.as_ref(), file.size),
        };
        let etag = etag.filter(|etag| etag.len() >= 32 && etag.chars().all(|c| c.is_ascii_hexdigit()));
        let (Some(etag), Some(size)) = (etag, size) else {
            return Err(format!("the hub states no size and content of {name}"));
        };
        let address = format!("{base}/{name}");
        Ok(Wanted { name, address, etag: etag.clone(), size, hashed: file.lfs.is_some() })
    }
}

impl Trouble {
    fn of_status(status: StatusCode, address: &str) -> Trouble {
        let reason = format!("{address}: status {}", status.as_u16());
        let passing = status.is_server_error()
            || matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT);
        if passing { Trouble::Passing(reason) } else { Trouble::Lasting(reason) }
    }

    fn into_reason(self) -> String {
        let (Trouble::Passing(reason) | Trouble::Lasting(reason)) = self;
        reason
    }
}

/// What the engine reads of a repository whose model is `chosen`, or the folder itself.
fn is_needed(file: &str, chosen: Option<&str>) -> bool {
    const BESIDE: [&str; 6] = [
        "config.json",
        "generation_config.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "chat_template.jinja",
        hub::INDEX,
    ];
    match chosen {
        Some(chosen) => file == chosen,
        None => {
            let weights = file.strip_prefix("model").and_then(|rest| rest.strip_suffix(".safetensors"));
            let weights = weights.is_some_and(|number| number.is_empty() || number.starts_with('-'));
            hub::is_plain(file) && (BESIDE.contains(&file) || weights)
        }
    }
}

fn goes_on_at(answer: &Response, start: u64) -> bool {
    let range = answer.headers().get(CONTENT_RANGE).and_then(|range| range.to_str().ok());
    answer.status() == StatusCode::PARTIAL_CONTENT
        && range.is_some_and(|range| range.starts_with(&format!("bytes {start}-")))
}

fn length(file: &File) -> Result<u64, String> {
    file.metadata().map(|metadata| metadata.len()).map_err(|error| error.to_string())
}

fn hash_of(path: &Path) -> std::io::Result<String> {
    let (mut file, mut hash, mut buffer) = (File::open(path)?, Sha256::new(), vec![0; 1 << 20]);
    loop {
        match file.read(&mut buffer)? {
            0 => break,
            read => hash.update(&buffer[..read]),
        }
    }
    Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Gives the content its name in the snapshot.
fn link(snapshot: &Path, file: &Wanted) -> std::io::Result<()> {
    let name = snapshot.join(&file.name);
    match fs::remove_file(&name) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let content = Path::new("../../blobs").join(&file.etag);
    #[cfg(unix)]
    return std::os::unix::fs::symlink(content, name);
    #[cfg(not(unix))]
    return fs::hard_link(snapshot.join(content), name);
}

/// The token that the hub's own tools have stored.
fn stored_token(environment: Environment<'_>) -> Option<String> {
    let named = environment("HF_TOKEN_PATH").filter(|path| !path.is_empty()).map(Into::into);
    let path = named.or_else(|| hub::home(environment).map(|home| home.join("token")))?;
    let token = fs::read_to_string(path).ok()?.trim().to_owned();
    (!token.is_empty()).then_some(token)
}

fn unusable(path: &Path, error: &std::io::Error) -> String {
    format!("{}: {error}", path.display())
}

fn written(error: std::io::Error) -> Trouble {
    Trouble::Lasting(format!("cannot be written: {error}"))
}

/// The whole chain: "error sending request" alone says nothing.
fn told(error: &reqwest::Error) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(error) = source {
        text.push_str(&format!(": {error}"));
        source = error.source();
    }
    text
}

/// Tells the log how far a file has come, now and then.
struct Progress<'w> {
    file: &'w Wanted,
    told: Instant,
}

impl<'w> Progress<'w> {
    fn new(file: &'w Wanted, done: u64) -> Self {
        tracing::info!(file = file.name, done, bytes = file.size, "downloading");
        Progress { file, told: Instant::now() }
    }

    fn tell(&mut self, done: u64) {
        if self.told.elapsed() > Duration::from_secs(10) || done == self.file.size {
            let percent = 100 * done / self.file.size.max(1);
            tracing::info!(file = self.file.name, percent, "downloading");
            self.told = Instant::now();
        }
    }
}
