//! Reads the fields of a multipart form: images and parameters, in any order.

use axum::body::{Body, Bytes};
use axum::extract::{DefaultBodyLimit, FromRequest, Multipart, Request};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};

use super::Options;
use super::disposition::Disposition;
use super::params::CaptionParams;
use super::refusal::{Refusal, shown};

/// The multipart field of an image, and the name of an image that has none.
pub const IMAGE: &str = "image";

/// The accepted names of an image's field: those of this service, and those of services whose clients come here.
const IMAGE_FIELDS: [&str; 8] = [
    IMAGE, "images", "file", "files", "image[]", "images[]", "file[]", "files[]",
];

/// The fields that a form may have, for messages.
const IMAGE_FIELDS_TEXT: &str = "`image` (or `images`, `file`, `files`, also with `[]`)";

/// The largest number of fields that a message names.
const MAX_NAMED: usize = 8;

/// An image as the client sent it.
pub struct Picture {
    pub name: String,
    pub bytes: Bytes,
}

/// Returns the content type, if it is that of a multipart form.
pub fn kind(headers: &HeaderMap) -> Option<&HeaderValue> {
    const FORM: &str = "multipart/form-data";
    let value = headers.get(header::CONTENT_TYPE)?;
    let kind = value.to_str().ok()?.get(..FORM.len())?;
    kind.eq_ignore_ascii_case(FORM).then_some(value)
}

/// Reads the images of a form with the content type `kind`. Its other fields are stored in `params`.
///
/// # Errors
/// If it is not a valid form, has no image, or has a field that is unknown or malformed.
pub async fn read(
    kind: HeaderValue,
    bytes: Bytes,
    params: &mut CaptionParams,
    options: &Options,
) -> Result<Vec<Picture>, Refusal> {
    let mut request = Request::new(Body::from(bytes));
    request.headers_mut().insert(header::CONTENT_TYPE, kind);
    // The body is in memory already, and within the limit.
    DefaultBodyLimit::disable().apply(&mut request);
    let mut form = Multipart::from_request(request, &()).await.map_err(|_| {
        Refusal::bad_request(
            "the header Content-Type says multipart/form-data and names no boundary; let the program that makes the \
             form write this header",
        )
    })?;
    let mut pictures = Vec::new();
    let (mut known, mut unknown) = (Names::default(), Names::default());
    while let Some(field) = form.next_field().await.map_err(|_| malformed())? {
        let Disposition { field: name, file } = Disposition::of(field.headers());
        if IMAGE_FIELDS.contains(&name.as_str()) {
            if pictures.len() == options.images {
                return Err(too_many(options.images));
            }
            pictures.push(Picture {
                name: file.unwrap_or_else(|| IMAGE.into()),
                bytes: field.bytes().await.map_err(|_| malformed())?,
            });
            continue;
        }
        let value = field.bytes().await.map_err(|_| malformed())?;
        let value = String::from_utf8_lossy(&value);
        match params.set(&name, &value, options.beam)? {
            true => known.add(name),
            false => unknown.add(name),
        }
    }
    if pictures.is_empty() {
        return Err(no_image(known.and(unknown)));
    }
    match unknown.listed() {
        Some(names) => Err(Refusal::bad_request(format!(
            "the form has the unknown {names}; it may have {IMAGE_FIELDS_TEXT}, {}",
            CaptionParams::NAMES
        ))),
        None => Ok(pictures),
    }
}

fn malformed() -> Refusal {
    Refusal::bad_request(
        "the multipart form is malformed: it breaks off, or does not have the boundary that its Content-Type names",
    )
}

fn too_many(most: usize) -> Refusal {
    Refusal::new(
        StatusCode::PAYLOAD_TOO_LARGE,
        format!("the request holds more than {most} images; send several requests"),
    )
}

fn no_image(names: Names) -> Refusal {
    let came = match names.listed() {
        Some(names) => format!("only the {names}"),
        None => "no field at all".into(),
    };
    Refusal::bad_request(format!(
        "the multipart form has no image: it has {came}; send each image in a field {IMAGE_FIELDS_TEXT}"
    ))
}

/// Distinct names of fields; only as many are kept as a message names.
#[derive(Default)]
struct Names {
    some: Vec<String>,
    more: bool,
}

impl Names {
    fn add(&mut self, name: String) {
        if self.some.contains(&name) {
            return;
        }
        match self.some.len() < MAX_NAMED {
            true => self.some.push(name),
            false => self.more = true,
        }
    }

    fn and(mut self, others: Names) -> Names {
        self.more |= others.more;
        for name in others.some {
            self.add(name);
        }
        self
    }

    /// "field `a`", "fields `a`, `b` and more"
    fn listed(&self) -> Option<String> {
        let quoted = |name: &String| match name.is_empty() {
            true => "without a name".to_string(),
            false => format!("`{}`", shown(name)),
        };
        let names: Vec<String> = self.some.iter().map(quoted).collect();
        let plural = if names.len() == 1 { "" } else { "s" };
        let more = if self.more { " and more" } else { "" };
        (!names.is_empty()).then(|| format!("field{plural} {}{more}", names.join(", ")))
    }
}
