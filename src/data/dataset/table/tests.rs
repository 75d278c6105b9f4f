use super::*;

fn rows(text: &str) -> (Vec<Row>, Vec<String>) {
    let mut log = Log::default();
    let rows = read(Path::new("t.csv"), text, None, &mut log).unwrap();
    (
        rows,
        log.remarks.into_iter().map(|remark| remark.text).collect(),
    )
}

fn captions(text: &str) -> Vec<(String, String)> {
    let (rows, remarks) = rows(text);
    assert!(remarks.is_empty(), "{remarks:?}");
    rows.into_iter()
        .map(|row| (row.image, row.captions.join(" / ")))
        .collect()
}

fn refusal(text: &str, columns: Option<&str>) -> String {
    let columns = columns.map(|c| c.parse().unwrap());
    let error = read(
        Path::new("t.csv"),
        text,
        columns.as_ref(),
        &mut Log::default(),
    )
    .unwrap_err();
    error.to_string()
}

#[test]
fn whatever_separates_fields_is_found_out() {
    let expected = [
        ("a.jpg".to_string(), "A dog, big".to_string()),
        ("b.jpg".into(), "A; | cat".into()),
    ];
    for text in [
        "image,caption\na.jpg,\"A dog, big\"\nb.jpg,A; | cat\n",
        "image,caption\r\na.jpg, \"A dog, big\"\r\nb.jpg,A; | cat\r\n",
        "image;caption\na.jpg;A dog, big\nb.jpg;\"A; | cat\"",
        "sep=;\nimage;caption;\na.jpg;A dog, big;\n;;\nb.jpg;\"A; | cat\";\n",
        "\n\nfile_name\ttext\na.jpg\tA dog, big\nb.jpg\tA; | cat\n",
        "image_name| comment_number| comment\na.jpg| 0| A dog, big\nb.jpg| 1   A; | cat\n",
        "image_name|comment_number|comment\na.jpg|0|A dog, big\nb.jpg|1|A; | cat\n",
        "a.jpg,A dog, big\nb.jpg,A; | cat\n",
        "a.jpg\t0\tA dog, big\nb.jpg\t1\tA; | cat\n",
        "text;x;file\nA dog, big;1;a.jpg\n\"A; | cat\";2;b.jpg\n",
    ] {
        assert_eq!(captions(text), expected, "{text}");
    }
}

#[test]
fn quotation_marks_are_taken_off() {
    let text = "image,caption\na.jpg,\"Two dogs, \"\"big\"\" ones\"\nb.jpg,b \"c\" d\nc.jpg,\"one\ntwo\"\nd.jpg,\"Stop\" it says\n";
    let found: Vec<String> = captions(text)
        .into_iter()
        .map(|(_, caption)| caption)
        .collect();
    assert_eq!(
        found,
        [
            "Two dogs, \"big\" ones",
            "b \"c\" d",
            "one\ntwo",
            "\"Stop\" it says"
        ]
    );
}

#[test]
fn a_mark_that_nothing_closes_swallows_no_rows() {
    for (text, lines) in [
        (
            "image,caption\na.jpg,\"A man\nb.jpg,A dog\nc.jpg,\"fine\"\n",
            "a line",
        ),
        (
            "image,caption\na.jpg,\"A man\nb.jpg,A dog\nc.jpg,fine\n",
            "a line",
        ),
        (
            "image,caption\na.jpg,\"A man\nb.jpg,\"A dog\nc.jpg,fine\n",
            "2 lines",
        ),
    ] {
        let (rows, remarks) = rows(text);
        let names: Vec<&str> = rows.iter().map(|row| row.image.as_str()).collect();
        assert_eq!(names, ["a.jpg", "b.jpg", "c.jpg"], "{text}");
        assert_eq!(rows[0].captions, ["\"A man"]);
        assert_eq!(rows[2].captions, ["fine"]);
        let expected = format!(
            "t.csv: has {lines} with a quotation mark that nothing closes, the first is line 2;"
        );
        assert!(remarks[0].starts_with(&expected), "{remarks:?}");
    }
}

#[test]
fn what_is_not_understood_is_refused() {
    for (text, expected) in [
        ("", "it is empty"),
        (
            "Foto-Nr;Was man sieht\n1;Hund\n",
            "its columns are 'Foto-Nr', 'Was man sieht'; say which are which with --columns, as in \
          --columns \"image=Foto-Nr,caption=Was man sieht\"",
        ),
        ("image\na.jpg\n", "its only column is 'image'"),
        (
            "image,caption\na.jpg\n",
            "t.csv: line 2 is not IMAGE,CAPTION: 'a.jpg'",
        ),
        (
            "image,caption\n,A dog\n",
            "line 2 has a caption and no picture",
        ),
        (
            "caption,image\nA dog, big,a.jpg\n",
            "line 2 has 3 fields where there are 2 columns",
        ),
        (
            "image,caption,split\na.jpg,A dog,extra\n",
            "line 2 has an unknown split 'extra': use train, dev or test",
        ),
        (
            "image,caption\n../a.jpg,A dog\n",
            "line 2 names a picture outside",
        ),
    ] {
        let message = refusal(text, None);
        assert!(message.contains(expected), "{message}");
    }
    let message = refusal("a;b\n1.jpg;x\n", Some("image=a,caption=c"));
    assert!(
        message.ends_with("has no column 'c', which --columns names; its columns are 'a', 'b'"),
        "{message}"
    );
}

#[test]
fn columns_are_named_by_titles_or_numbers() {
    let read = |text, columns: &str| {
        read(
            Path::new("t.csv"),
            text,
            Some(&columns.parse().unwrap()),
            &mut Log::default(),
        )
        .unwrap()
    };
    let row = |captions: &[&str], split| {
        let captions = captions.iter().map(|c| c.to_string()).collect();
        [Row {
            image: "a.jpg".into(),
            captions,
            split,
        }]
    };
    assert_eq!(
        read("nr;was;wo\n1;Hund;a.jpg\n", "image=wo,caption=Was"),
        row(&["Hund"], None)
    );
    assert_eq!(
        read("1;Hund;a.jpg\n", "image=3,caption=2"),
        row(&["Hund"], None)
    );
    let both = read(
        "x,y,z,w\na.jpg,Hund,Tier,val\n",
        "image=x,caption=y,caption=z,split=w",
    );
    assert_eq!(both, row(&["Hund", "Tier"], Some(Split::Dev)));
}
