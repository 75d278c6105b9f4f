//! Tests of the page in a real browser: Debian's Chromium, headless, controlled by ChromeDriver. The service runs in
//! this process.
//!
//! Without `chromedriver` the tests are skipped with a message; with `GLIMPSE_TEST_BROWSER=1` they fail instead.

mod attention;
#[path = "../common/attentive.rs"]
mod attentive;
mod browser;
#[path = "../common/proxy.rs"]
mod proxy;
mod trust;

use std::path::{Path, PathBuf};
use std::thread;

use browser::{Browser, Driver, PHONE};
use glimpse::caption::{Search, search};
use glimpse::data::Image;
use glimpse::model::Captioner;
use glimpse::tensor::Device;
use glimpse::web::{Options, Server, Stop};
use serde_json::{Value, json};

/// A service that runs until it is dropped.
struct Service {
    address: String,
    stop: Stop,
    thread: Option<thread::JoinHandle<()>>,
}

impl Service {
    fn new(captioner: Captioner, options: Options) -> Self {
        let options = Options {
            addr: "127.0.0.1:0".into(),
            // Each service counts the whole process's memory as its own, and several tests share the process.
            memory_bytes: 8 << 30,
            ..options
        };
        let server = Server::bind(captioner, &Device::Cpu, options).unwrap();
        Service {
            address: format!("http://{}/", server.addr()),
            stop: server.stopper(),
            thread: Some(thread::spawn(|| server.run().unwrap())),
        }
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.stop.stop();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn sample(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("weights/samples")
        .join(name)
}

/// The caption of a sample photo, computed directly by the model.
fn said(name: &str) -> String {
    let captioner = Captioner::bundled().unwrap();
    let image = Image::open(sample(name)).unwrap();
    let x = captioner.recipe.tensor(&[image]).unwrap();
    let features = captioner.encode(&x).unwrap();
    let how = Search {
        n_best: 3,
        ..Search::default()
    };
    search(&captioner, &features, &how).unwrap()[0][0]
        .text
        .clone()
}

/// A browser with the page of a service, and the service itself.
struct Visit {
    browser: Browser,
    service: Service,
    _driver: Driver,
}

/// Opens the page of a service with the bundled model, or returns `None` without a browser.
fn visit(size: [u32; 2], options: Options) -> Option<Visit> {
    visit_model(Captioner::bundled().unwrap(), size, options)
}

/// Opens the page of a service with this model, or returns `None` without a browser.
fn visit_model(captioner: Captioner, size: [u32; 2], options: Options) -> Option<Visit> {
    let driver = Driver::start()?;
    let service = Service::new(captioner, options);
    let browser = driver.browser(size);
    browser.open(&service.address);
    Some(Visit {
        browser,
        service,
        _driver: driver,
    })
}

fn usual() -> Option<Visit> {
    visit([1280, 900], Options::default())
}

impl Visit {
    /// Waits for the caption of the card at position `at`, and returns its text.
    fn caption(&self, at: usize) -> String {
        let script = format!(
            "const card = document.querySelectorAll('#cards .card')[{at}];
             return card && card.dataset.state === 'done' ? card.querySelector('.caption').textContent : null"
        );
        let text = self.browser.wait("a caption", &script);
        text.as_str().unwrap().trim().to_string()
    }

    /// Checks that nothing went wrong unnoticed: the console has no error except `expected`, the page sent no request to
    /// another origin and shows no error bar.
    fn is_clean(&self, expected: &str) {
        let origins = self.browser.run(
            "return performance.getEntriesByType('resource').map(e => new URL(e.name).origin)
                 .filter(origin => origin !== location.origin)",
        );
        assert_eq!(origins, json!([]), "asked of another origin");
        for line in self.browser.console() {
            assert!(!expected.is_empty() && line.contains(expected), "{line}");
        }
        let errors = self.browser.run(
            "return [...document.querySelectorAll('#error-list li')].map(e => e.textContent)
                 .filter(text => text.includes('went wrong in this page'))",
        );
        assert_eq!(errors, json!([]));
    }
}

#[test]
fn an_uploaded_picture_is_described_as_on_the_command_line() {
    let Some(page) = usual() else { return };
    let [cat, raccoon] = ["cat.jpg", "raccoon.jpg"].map(sample);
    page.browser.upload("#file-input", &[&cat]);
    assert_eq!(page.caption(0), said("cat.jpg"));
    // Later pictures are placed before it.
    page.browser.upload("#file-input", &[&raccoon]);
    page.browser.wait(
        "two cards",
        "return document.querySelectorAll('.card[data-state=done]').length === 2",
    );
    assert_eq!(page.caption(0), said("raccoon.jpg"));
    assert_eq!(page.caption(1), said("cat.jpg"));
    let alternatives = "return document.querySelector('.card .alternatives').children.length";
    assert_eq!(page.browser.run(alternatives), json!(2));
    let timings = page
        .browser
        .run("return document.querySelector('.timings').textContent");
    let timings = timings.as_str().unwrap();
    assert!(
        timings.contains("encode") && timings.contains("cpu"),
        "{timings}"
    );
    // The colour of each word shows its probability.
    let levels = page.browser.run(
        "return [...document.querySelectorAll('.card .caption .word')].every(w => w.dataset.level >= 1)",
    );
    assert_eq!(levels, json!(true));
    page.is_clean("");
}

#[test]
fn a_first_visit_is_one_click_away_from_a_caption() {
    let Some(page) = usual() else { return };
    let shown = "return document.querySelectorAll('[data-sample] img').length === 3
        && [...document.querySelectorAll('[data-sample] img')].every(i => i.complete && i.naturalWidth > 0)";
    page.browser.wait("sample photos", shown);
    page.browser.click("[data-sample='astronaut.jpg']");
    assert_eq!(page.caption(0), said("astronaut.jpg"));
    page.is_clean("");
}

#[test]
fn a_pasted_picture_is_described() {
    let Some(page) = usual() else { return };
    page.browser.run_later(
        "const blob = await (await fetch('/samples/cat.jpg')).blob();
         const data = new DataTransfer();
         data.items.add(new File([blob], 'image.png', { type: 'image/jpeg' }));
         document.dispatchEvent(new ClipboardEvent('paste', { clipboardData: data, bubbles: true }));",
    );
    assert_eq!(page.caption(0), said("cat.jpg"));
    page.is_clean("");
}

#[test]
fn the_keyboard_is_enough() {
    let Some(page) = usual() else { return };
    let focused = |part: &str| {
        let script = format!("return !!document.activeElement.closest(\"{part}\")");
        page.browser.run(&script) == json!(true)
    };
    let tab_to = |part: &str| {
        for _ in 0..40 {
            page.browser.press("\u{e004}");
            if focused(part) {
                return;
            }
        }
        panic!("Tab does not lead to {part}");
    };
    tab_to("#file-input");
    tab_to("[data-sample='raccoon.jpg']");
    page.browser.press("\u{e007}");
    assert_eq!(page.caption(0), said("raccoon.jpg"));
    // Tab goes through the words of the caption, and each shows its probability.
    tab_to(".card .caption .word");
    let first = page
        .browser
        .run("return document.activeElement.textContent");
    page.browser.press("\u{e014}");
    assert_ne!(
        page.browser
            .run("return document.activeElement.textContent"),
        first
    );
    let told = "const t = document.querySelector('#tooltip'); return !t.hidden && t.textContent.includes('%')";
    page.browser.wait("a tooltip", told);
    tab_to("[data-action=copy]");
    page.is_clean("");
}

#[test]
fn junk_is_told_of_and_the_rest_goes_on() {
    let Some(page) = usual() else { return };
    let dir = tempfile::tempdir().unwrap();
    let junk = dir.path().join("junk.jpg");
    std::fs::write(&junk, b"no picture at all").unwrap();
    page.browser
        .upload("#file-input", &[&junk, &sample("cat.jpg")]);
    let failed = "const card = document.querySelector('.card[data-state=failed]');
        return card ? card.querySelector('.status').textContent : null";
    let status = page.browser.wait("a failed card", failed);
    assert!(status.as_str().unwrap().contains("junk.jpg"), "{status}");
    let done = "const card = document.querySelector('.card[data-state=done]');
        return card ? card.querySelector('.caption').textContent.trim() : null";
    assert_eq!(page.browser.wait("the other", done), json!(said("cat.jpg")));
    // The browser itself writes the status 415 to the console.
    page.is_clean("415");
}

#[test]
fn a_token_is_asked_for() {
    let options = Options {
        token: Some("open-sesame".into()),
        ..Options::default()
    };
    let Some(page) = visit([1280, 900], options) else {
        return;
    };
    let asked = "return !document.querySelector('#token-form').hidden";
    page.browser.wait("the token's field", asked);
    page.browser.click("#token");
    page.browser.press("open-sesame\u{e007}");
    page.browser.wait(
        "the field to go",
        "return document.querySelector('#token-form').hidden",
    );
    page.browser.click("[data-sample='cat.jpg']");
    assert_eq!(page.caption(0), said("cat.jpg"));
    page.is_clean("401");
}

#[test]
fn it_works_behind_a_proxy_under_a_path() {
    for strips in [true, false] {
        let options = Options {
            public_url: Some("http://localhost/see/it".parse().unwrap()),
            ..Options::default()
        };
        let Some(page) = visit([1280, 900], options) else {
            return;
        };
        let manner = proxy::Manner {
            path: "/see/it",
            strips,
            renames: false,
        };
        let server = page.service.address.strip_prefix("http://").unwrap();
        let server = server.trim_end_matches('/').parse().unwrap();
        let address = proxy::start(server, manner);
        // If the proxy does not strip the path, the service redirects to the path with a slash.
        let slash = if strips { "/" } else { "" };
        page.browser
            .open(&format!("http://{address}/see/it{slash}"));
        let info = "return document.querySelector('#info').textContent.includes('Glimpse')";
        page.browser.wait("what the server is", info);
        page.browser.click("[data-sample='cat.jpg']");
        assert_eq!(page.caption(0), said("cat.jpg"));
        page.is_clean("");
    }
}

/// A script that returns by how much the page is wider than its window.
const OVERFLOW: &str =
    "return document.documentElement.scrollWidth - document.documentElement.clientWidth";

#[test]
fn it_fits_a_phone_in_light_and_in_darkness() {
    let Some(page) = visit(PHONE, Options::default()) else {
        return;
    };
    assert_eq!(page.browser.run("return innerWidth"), json!(PHONE[0]));
    assert_eq!(page.browser.run(OVERFLOW), json!(0));
    page.browser.click("[data-sample='raccoon.jpg']");
    page.caption(0);
    assert_eq!(page.browser.run(OVERFLOW), json!(0));
    let brightness = || -> f64 {
        let script =
            "return getComputedStyle(document.body).backgroundColor.match(/\\d+/g).slice(0, 3)
            .reduce((sum, x) => sum + Number(x), 0) / 3";
        page.browser.run(script).as_f64().unwrap()
    };
    let light = brightness();
    page.browser.prefer("prefers-color-scheme", "dark");
    let dark = brightness();
    assert!(light > 200.0 && dark < 60.0, "{light} and {dark}");
    assert_eq!(page.browser.run(OVERFLOW), json!(0));
    page.is_clean("");
}

#[test]
fn captions_can_be_taken_away() {
    let Some(page) = usual() else { return };
    page.browser.click("[data-sample='cat.jpg']");
    let text = page.caption(0);
    // Keep the text that the page downloads or copies.
    page.browser.run(
        "window.taken = [];
         const make = URL.createObjectURL;
         URL.createObjectURL = (blob) => {
             if (!blob.type.startsWith('image/')) blob.text().then((t) => window.taken.push(t));
             return make.call(URL, blob);
         };
         Object.defineProperty(navigator, 'clipboard', {
             value: { writeText: async (t) => { window.taken.push(t); } } });",
    );
    let taken = |click: &str| -> String {
        page.browser.run("window.taken.length = 0");
        page.browser.click(click);
        let taken = page
            .browser
            .wait("what was taken", "return window.taken[0] ?? null");
        taken.as_str().unwrap().to_string()
    };
    assert_eq!(taken("[data-action=copy]:not([data-at])"), text);
    assert_eq!(taken("[data-action=copy-alt]"), format!("alt=\"{text}\""));
    let json: Value = serde_json::from_str(&taken("#download-json")).unwrap();
    assert!(json.to_string().contains(&text), "{json}");
    let csv = taken("#download-csv");
    assert!(csv.contains("cat.jpg") && csv.contains(&text), "{csv}");
    page.is_clean("");
}
