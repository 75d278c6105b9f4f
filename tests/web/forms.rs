//! Tests of the fields of forms.

use crate::{Service, png, quick, said};

const PATH: &str = "/api/caption";

#[test]
fn options_may_be_fields_in_any_order() {
    let (service, captioner, image) = (Service::quick(), quick(), png(1));
    let expected = said(&captioner, &image, 4, 3);
    let picture = ("image", "a.png", &image[..]);
    let (beam, n_best) = (("beam", "", &b"4"[..]), ("n_best", "", &b" 3\r\n"[..]));
    let off = ("attention", "", &b"0"[..]);
    for (query, fields) in [
        ("", &[picture, beam, n_best, off][..]),
        ("", &[n_best, picture, off, beam]),
        ("?beam=4", &[picture, n_best]),
        // Only the form has a beam that is wide enough for three captions.
        ("?n_best=3", &[picture, beam]),
        ("?beam=4&n_best=3", &[picture]),
        // An option may be given twice with the same value.
        ("?beam=4&n_best=3", &[beam, n_best, picture, beam]),
    ] {
        let answer = service.form(&format!("{PATH}{query}"), fields).answer();
        assert_eq!(answer["captions"], expected, "{query} {}", fields.len());
    }
}

#[test]
fn options_in_fields_are_checked_as_those_of_the_query_are() {
    let service = Service::quick();
    let image = png(1);
    for (name, value) in [
        ("beam", "0"),
        ("beam", "51"),
        ("beam", "-1"),
        ("beam", "many"),
        ("beam", ""),
        ("n_best", "0"),
        ("n_best", "6"),
        ("n_best", "few"),
        ("attention", "maybe"),
    ] {
        let query = format!("{PATH}?{name}={value}");
        let of_query = service.post(&query, &image).error(400);
        for before in [true, false] {
            let mut fields = vec![("image", "a.png", &image[..])];
            fields.insert(usize::from(!before), (name, "", value.as_bytes()));
            let of_form = service.form(PATH, &fields).error(400);
            assert_eq!(of_form, of_query);
        }
    }
    let picture = ("image", "a.png", &image[..]);
    for (query, fields) in [
        ("?beam=3", &[picture, ("beam", "", b"4")][..]),
        ("", &[picture, ("beam", "", b"3"), ("beam", "", b"4")]),
    ] {
        let error = service.form(&format!("{PATH}{query}"), fields).error(400);
        assert!(error.contains("beam is given as 3 and as 4"), "{error}");
    }
    let long = vec![b'9'; 100_000];
    let error = service
        .form(PATH, &[picture, ("beam", "", &long)])
        .error(400);
    assert!(error.len() < 200, "{error}");
}

#[test]
fn unknown_fields_are_refused_by_name() {
    let service = Service::quick();
    let image = png(1);
    let picture = ("image", "a.png", &image[..]);
    let error = service
        .form(PATH, &[picture, ("beans", "", b"3")])
        .error(400);
    for part in [
        "unknown field `beans`;",
        "`image`",
        "`file`",
        "`beam`, `n_best`, `attention`",
    ] {
        assert!(error.contains(part), "{error}");
    }
    let error = service
        .form(
            PATH,
            &[("a", "", b""), picture, ("b", "", b""), ("a", "", b"")],
        )
        .error(400);
    assert!(error.contains("unknown fields `a`, `b`;"), "{error}");
}

#[test]
fn an_image_may_be_called_as_others_call_it() {
    let (service, captioner) = (Service::quick(), quick());
    let [a, b] = [png(1), png(2)];
    for name in ["image", "images", "file", "files", "image[]", "images[]"] {
        let answer = service.form(PATH, &[(name, "a.png", &a)]).answer();
        assert_eq!(answer["image"], "a.png", "{name}");
        assert_eq!(answer["captions"], said(&captioner, &a, 5, 1));
    }
    let answer = service
        .form(PATH, &[("file", "a.png", &a), ("images", "b.png", &b)])
        .answer();
    let results = answer["results"].as_array().unwrap();
    assert_eq!(results[0]["image"], "a.png");
    assert_eq!(results[1]["captions"], said(&captioner, &b, 5, 1));
}

#[test]
fn a_form_without_an_image_is_told_what_came() {
    let service = Service::quick();
    let image = png(1);
    let refused = |fields: &[(&str, &str, &[u8])]| {
        let error = service.form(PATH, fields).error(400);
        for name in ["`image`", "`images`", "`file`"] {
            assert!(error.contains(name), "{error}");
        }
        error
    };
    let error = refused(&[("photo", "a.png", &image), ("beam", "", b"3")]);
    assert!(error.contains("only the fields `beam`, `photo`"), "{error}");
    let error = refused(&[("photo", "a.png", &image)]);
    assert!(error.contains("only the field `photo`;"), "{error}");
    assert!(refused(&[]).contains("no field at all"));
    assert!(refused(&[("", "", b"")]).contains("without a name"));
    let names: Vec<String> = (0..1000).map(|n| format!("field-{n}")).collect();
    let many: Vec<(&str, &str, &[u8])> = names.iter().map(|n| (&**n, "", &b""[..])).collect();
    let error = refused(&many);
    assert!(
        error.contains("`field-7` and more") && error.len() < 400,
        "{error}"
    );
}

/// Sends an image whose field has this header.
fn named(service: &Service, disposition: &[u8]) -> String {
    let body = [
        b"--limit\r\nContent-Disposition: form-data; name=\"image\"; ",
        disposition,
        b"\r\n\r\n",
        &png(1),
        b"\r\n--limit--\r\n",
    ]
    .concat();
    let kind = "Content-Type: multipart/form-data; boundary=limit";
    let answer = service.ask("POST", PATH, &[kind], &body).answer();
    answer["image"].as_str().unwrap().to_string()
}

#[test]
fn names_of_files_come_back_as_they_were_meant() {
    let service = Service::quick();
    for (disposition, name) in [
        (&b"filename*=UTF-8''na%C3%AFve.jpg"[..], "na\u{ef}ve.jpg"),
        (b"filename*=ISO-8859-1''na%EFve.jpg", "na\u{ef}ve.jpg"),
        (
            b"filename=\"naive.jpg\"; filename*=UTF-8'en'na%C3%AFve.jpg",
            "na\u{ef}ve.jpg",
        ),
        (
            b"filename=\"naive.jpg\"; filename*=UTF-8''na%FFve.jpg",
            "naive.jpg",
        ),
        (b"filename=\"na\xefve.jpg\"", "na\u{ef}ve.jpg"),
        (b"filename=\"a %22b%22.jpg\"", "a \"b\".jpg"),
        (b"filename=\"C:\\fakepath\\a.jpg\"", "a.jpg"),
        (b"filename=\"folder/a.jpg\"", "a.jpg"),
        (b"filename=\"\"", "image"),
    ] {
        assert_eq!(named(&service, disposition), name);
    }
}

#[test]
fn a_form_whose_boundary_is_missing_is_told_why() {
    let service = Service::quick();
    let kind = "Content-Type: multipart/form-data";
    let error = service.ask("POST", PATH, &[kind], b"--x\r\n").error(400);
    assert!(
        error.contains("boundary") && error.contains("Content-Type"),
        "{error}"
    );
}
