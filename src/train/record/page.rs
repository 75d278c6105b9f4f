//! The report as a page: one self-contained HTML file without scripts, readable offline.

use std::fmt::Write;

use serde_json::Value;

use super::Background;
use super::chart::{Line, chart};
use super::history::{History, Scores};
use super::html::{escaped, number};
use crate::train::config::change::{changed, flat, shown};
use crate::train::dev::AttentionMaps;

/// State of the run.
pub(super) enum Status {
    /// The run goes on.
    Running,
    /// The run was completed.
    Finished,
    /// The run was stopped or failed, for this reason.
    Stopped(String),
}

/// Contents of the page.
pub(super) struct Page<'a> {
    pub history: &'a History,
    pub background: &'a Background,
    pub status: &'a Status,
    /// Small pictures as `data:` URLs.
    pub thumbnails: &'a [Option<String>],
    pub looked: &'a [AttentionMaps],
    /// Time of writing.
    pub written: String,
}

/// Identifies a report of this program.
pub(super) const GENERATOR: &str = "<meta name=\"generator\" content=\"Glimpse\">";
/// Seconds after which the page of a running training reloads itself.
const RELOAD: u32 = 5;
/// Maximum number of captions shown for a picture.
const MOST_CAPTIONS: usize = 8;

impl Page<'_> {
    /// Returns the whole page.
    pub(super) fn html(&self) -> String {
        let title = escaped(&self.background.model);
        let reload = match self.status {
            Status::Running => format!("<meta http-equiv=\"refresh\" content=\"{RELOAD}\">\n"),
            _ => String::new(),
        };
        let (pictures, attention) = self.attention();
        let mut html = format!(
            "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n{GENERATOR}\n{reload}\
             <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; img-src data:; style-src \
             'unsafe-inline'\">\n<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
             <title>{title} – Glimpse</title>\n<style>{STYLE}{pictures}</style>\n</head>\n<body>\n<main>\n"
        );
        self.head(&mut html);
        self.charts(&mut html);
        self.captions(&mut html);
        html += &attention;
        self.tables(&mut html);
        html + "</main>\n</body>\n</html>\n"
    }

    fn head(&self, html: &mut String) {
        let History { step, total, .. } = *self.history;
        let early = self.history.stopped_early;
        let (class, word) = match self.status {
            Status::Running => ("running", "training"),
            Status::Finished if early.is_some() => ("finished", "finished early"),
            Status::Finished => ("finished", "finished"),
            Status::Stopped(_) => ("stopped", "stopped"),
        };
        let share = 100.0 * step as f64 / total.max(1) as f64;
        let _ = write!(
            html,
            "<header><h1>{}</h1> <span class=\"status {class}\">{word}</span>\n\
             <div class=\"bar\"><i style=\"width:{:.1}%\"></i></div>\n<p>step {step} of {total}",
            escaped(&self.background.model),
            share.clamp(0.0, 100.0)
        );
        if let Some(mean) = self.history.mean_loss() {
            let _ = write!(html, " · training loss {} (smoothed)", number(mean));
        }
        if let Some(best) = self.history.scores.iter().rev().find(|scores| scores.best) {
            let _ = write!(
                html,
                " · best {} at step {}: {}",
                self.measure(),
                best.step,
                spelled(best)
            );
        }
        let _ = writeln!(html, " · written {}</p>", escaped(&self.written));
        match self.status {
            Status::Stopped(why) => {
                let _ = writeln!(html, "<p class=\"why\">{}</p>", escaped(why));
            }
            Status::Finished => {
                if let Some(best) = early {
                    let _ = writeln!(
                        html,
                        "<p class=\"why\">The run ended before its last step, because the dev split got no better after \
                         step {best}.</p>"
                    );
                }
            }
            Status::Running => {
                let _ = writeln!(
                    html,
                    "<p>This page loads itself again every {RELOAD} seconds. If the time above stays the same for long, \
                     the run was ended from outside.</p>"
                );
            }
        }
        html.push_str("</header>\n");
    }

    /// Returns the display name of the score that selects the best weights.
    fn measure(&self) -> &'static str {
        let config = &self.background.config;
        match (config["stage"].as_str(), config["dev"]["score"].as_str()) {
            (Some("distill"), _) | (_, Some("loss")) => "dev loss",
            (_, Some("bleu4")) => "BLEU-4",
            _ => "CIDEr",
        }
    }

    fn charts(&self, html: &mut String) {
        let history = self.history;
        fn line<'l>(name: &'l str, points: Vec<(f64, f64)>) -> Line<'l> {
            Line {
                name,
                points,
                is_marked: false,
                is_faint: false,
            }
        }
        let scores = |name, of: fn(&Scores) -> Option<f64>| {
            let all = history.scores.iter();
            let points =
                all.filter_map(|s| Some((s.step as f64, of(s).filter(|v| v.is_finite())?)));
            Line {
                is_marked: true,
                ..line(name, thinned(points.collect()))
            }
        };
        let distinct = |s: &Scores| {
            let images = s.images.filter(|&n| n > 0)? as f64;
            s.cider.and(s.distinct).map(|n| 100.0 * n as f64 / images)
        };
        html.push_str("<section class=\"charts\">\n");
        let raw = Line {
            is_faint: true,
            ..line("training, each step", history.loss.points())
        };
        *html += &chart(
            "Loss",
            "nats a word, lower is better",
            &[
                line("training, smoothed", history.smoothed.points()),
                scores("dev split", |s| s.loss),
                raw,
            ],
        );
        *html += &chart(
            "Scores on the dev split",
            "times 100, higher is better",
            &[scores("CIDEr", |s| s.cider), scores("BLEU-4", |s| s.bleu4)],
        );
        *html += &chart(
            "Different captions on the dev split",
            "percent of the images",
            &[scores("different captions", distinct)],
        );
        *html += &chart(
            "Learning rate",
            "",
            &[
                line("decoder", history.lr.points()),
                line("encoder", history.encoder_lr.points()),
            ],
        );
        *html += &chart(
            "Throughput",
            "images a second, higher is better",
            &[line("training steps", history.rate.points())],
        );
        *html += &chart(
            "Norm of the gradients",
            "before clipping",
            &[line("all parameters", history.norm.points())],
        );
        let others = history
            .parts
            .iter()
            .filter(|(name, _)| *name != "caption_loss");
        for (name, curve) in others {
            let title = name.replace('_', " ");
            *html += &chart(&title, "of each step", &[line(&title, curve.points())]);
        }
        html.push_str("</section>\n");
    }

    fn captions(&self, html: &mut String) {
        let Some((_, last)) = self.history.captions.last() else {
            return;
        };
        html.push_str(
            "<h2>The same dev pictures as training goes on</h2>\n<section class=\"cards\">\n",
        );
        for (name, _) in last {
            html.push_str("<article>");
            let shown = self
                .background
                .followed
                .iter()
                .position(|s| s.name == *name);
            let picture = shown.and_then(|at| self.thumbnails.get(at)?.as_ref());
            match picture {
                Some(data) => {
                    let _ = write!(html, "<img src=\"{data}\" alt=\"{}\">", escaped(name));
                }
                None => html.push_str("<div class=\"missing\">no picture</div>"),
            }
            let _ = write!(html, "<div><h3>{}</h3>", escaped(name));
            for caption in shown
                .iter()
                .flat_map(|&at| self.background.followed[at].captions.iter().take(2))
            {
                let _ = write!(html, "<p class=\"people\">{}</p>", escaped(caption));
            }
            html.push_str("<table>");
            for (step, text) in self.captions_of(name) {
                let _ = write!(
                    html,
                    "<tr><th>step {step}</th><td>{}</td></tr>",
                    escaped(text)
                );
            }
            html.push_str("</table></div></article>\n");
        }
        html.push_str(
            "</section>\n<p class=\"note\">In italics: what people wrote of the picture. A caption is listed where it \
             differs from the one before.</p>\n",
        );
    }

    /// Returns the captions of an image over the run, without repetitions; of many, the first one and the last ones.
    fn captions_of(&self, name: &str) -> Vec<(u64, &str)> {
        let mut all: Vec<(u64, &str)> = Vec::new();
        for (step, captions) in &self.history.captions {
            let found = captions.iter().find(|(image, _)| image == name);
            if let Some((_, text)) = found
                && all.last().is_none_or(|(_, before)| before != text)
            {
                all.push((*step, text));
            }
        }
        let many = all.len().saturating_sub(MOST_CAPTIONS);
        let first = all.len().min(1);
        all.drain(first..first + many);
        all
    }

    /// Returns the style sheet and the section of attention maps. Each picture is stored once, in the style sheet, and
    /// is the background of each of its words.
    fn attention(&self) -> (String, String) {
        let (mut style, mut rows) = (String::new(), String::new());
        let Some(grid) = self.background.grid else {
            return (style, rows);
        };
        for looked in self.looked {
            let mut followed = self.background.followed.iter();
            let at = followed.position(|followed| followed.name == looked.image);
            let Some((at, Some(data))) = at.and_then(|at| Some((at, self.thumbnails.get(at)?)))
            else {
                continue;
            };
            let _ = write!(style, ".p{at}{{background-image:url({data})}}");
            rows.push_str("<div class=\"looks\">");
            for (word, weights) in &looked.words {
                let Some(shade) = super::pictures::shade(weights, grid) else {
                    continue;
                };
                let _ = write!(
                    rows,
                    "<span><b class=\"p{at}\"><img src=\"{shade}\" alt=\"\"></b>{}</span>",
                    escaped(word)
                );
            }
            rows.push_str("</div>\n");
        }
        if rows.is_empty() {
            return (style, rows);
        }
        let section = format!(
            "<h2>Where the model looked for each word</h2>\n{rows}<p class=\"note\">At the last evaluation; light where the \
             attention is high, in proportion to each word's highest.</p>\n"
        );
        (style, section)
    }

    fn tables(&self, html: &mut String) {
        let background = self.background;
        let _ = write!(html, "<h2>The run</h2>\n<table class=\"facts\">");
        for (name, value) in &background.facts {
            let _ = write!(
                html,
                "<tr><th>{}</th><td>{}</td></tr>",
                escaped(name),
                escaped(value)
            );
        }
        html.push_str("</table>\n");
        let config: &Value = &background.config;
        let differs = changed(config);
        let differs = match differs.is_empty() {
            true => "all settings are the defaults".to_string(),
            false => differs.join("\n"),
        };
        let all = flat(config).into_iter();
        let all: Vec<String> = all
            .map(|(key, value)| format!("{key} = {}", shown(&value)))
            .collect();
        // Sections that a reader opened would close when the page reloads itself; in a running training all are open.
        let open = match self.status {
            Status::Running => " open",
            _ => "",
        };
        let _ = write!(
            html,
            "<h2>Configuration</h2>\n<p>What differs from the defaults:</p>\n<pre>{}</pre>\n<details{open}><summary>All \
             settings</summary><pre>{}</pre></details>\n",
            escaped_lines(&differs),
            escaped_lines(&all.join("\n"))
        );
        let History {
            notices, warnings, ..
        } = self.history;
        if !notices.is_empty() || !warnings.is_empty() {
            html.push_str("<h2>Notices and warnings</h2>\n<ul>");
            for notice in notices.iter().chain(warnings.values()) {
                let _ = write!(html, "<li>{}</li>", escaped(notice));
            }
            html.push_str("</ul>\n");
        }
    }
}

/// Escapes several lines.
fn escaped_lines(text: &str) -> String {
    text.lines().map(escaped).collect::<Vec<_>>().join("\n")
}

/// Formats scores in one line.
fn spelled(scores: &Scores) -> String {
    let all = [
        ("CIDEr", scores.cider),
        ("BLEU-4", scores.bleu4),
        ("dev loss", scores.loss),
    ];
    let all = all
        .into_iter()
        .filter_map(|(name, value)| Some((name, value.filter(|v| v.is_finite())?)));
    let all: Vec<String> = all
        .map(|(name, value)| match name {
            "dev loss" => format!("{name} {value:.4}"),
            _ => format!("{name} {value:.2}"),
        })
        .collect();
    all.join(", ")
}

/// Thins out points to the resolution of a chart; the last one stays.
fn thinned(points: Vec<(f64, f64)>) -> Vec<(f64, f64)> {
    let every = points.len().div_ceil(400).max(1);
    let last = points.len().saturating_sub(1);
    let all = points.into_iter().enumerate();
    all.filter(|(at, _)| at.is_multiple_of(every) || *at == last)
        .map(|(_, point)| point)
        .collect()
}

/// The colours of Okabe and Ito (2008) are distinct with any colour vision; dashes distinguish the curves as well.
const STYLE: &str = include_str!("page.css");
