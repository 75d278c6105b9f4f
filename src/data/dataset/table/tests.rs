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

#[test]
fn the_pictures_column_is_the_one_with_their_names() {
    let (found, remarks) =
        rows("image_id,file_name,caption\n1,0.jpg,\"A man, big\"\n2,1.jpg,A dog\n");
    assert_eq!((found[0].image.as_str(), remarks.len()), ("0.jpg", 0));
    let (found, remarks) = rows("image,name,caption\n1,0.jpg,A man\n2,1.jpg,A dog\n");
    assert_eq!(found[1].image, "1.jpg");
    assert!(
        remarks[0].starts_with("t.csv: the column 'name', not 'image', is read as the pictures', as it holds their names; --columns"),
        "{remarks:?}"
    );
    let message = refusal(
        "\"image\",\"caption\"\n\"0\",\"1.jpg\",\"A man\"\n\"1\",\"2.jpg\",\"A dog\"\n",
        None,
    );
    assert!(
        message.starts_with("t.csv: its rows have 3 fields and its first line 2 titles, so that the first column has none;"),
        "{message}"
    );
}

#[test]
fn several_captions_in_a_row_are_all_read() {
    let expected = [
        ("a.jpg".to_string(), "A dog / It runs".to_string()),
        ("b.jpg".into(), "A cat / It sits".into()),
    ];
    for text in [
        "image,caption,caption\na.jpg,A dog,It runs\nb.jpg,A cat,It sits\n",
        ",image,caption,caption.1\n0,a.jpg,A dog,It runs\n1,b.jpg,A cat,It sits\n",
        "image,caption\na.jpg,\"[\"\"A dog\"\", \"\"It runs\"\"]\"\nb.jpg,\"['A cat', 'It sits']\"\n",
    ] {
        assert_eq!(captions(text), expected, "{text}");
    }
    for text in [
        "a.jpg,\"A dog\",\"It runs\"\nb.jpg,\"A cat\",\"It sits\"\n",
        "a.jpg\tA dog\tIt runs\nb.jpg\tA cat\tIt sits\n",
        "a.jpg;A dog;It runs\nb.jpg;A cat;It sits\n",
    ] {
        let (found, remarks) = rows(text);
        assert_eq!(found[1].captions, ["A cat", "It sits"], "{text}");
        assert_eq!(
            remarks,
            [
                "t.csv: it has no titles, and its columns are read as image, caption, caption; --columns says otherwise"
            ]
        );
    }
    let (found, _) = rows("a.jpg\tA dog\nb.jpg\tA cat\tIt sits\n");
    assert_eq!((found[0].captions.len(), found[1].captions.len()), (1, 2));
    let (found, _) = rows("a.jpg,val,\"A man, big\"\nb.jpg,train,A dog\n");
    assert_eq!(
        (found[0].split, &found[0].captions[..]),
        (Some(Split::Dev), &["A man, big".to_string()][..])
    );
}

#[test]
fn more_fields_than_titles_are_refused_unless_they_are_a_sentence() {
    for text in [
        "image;caption\na.jpg;A dog;It runs\nb.jpg;A cat;It sits\n",
        "image,caption\na.jpg,\"A dog\",\"It runs\"\nb.jpg,\"A cat\",\"It sits\"\n",
    ] {
        let message = refusal(text, None);
        assert!(
            message.starts_with("t.csv: its rows have 3 fields and its first line 2 titles; give each column a title"),
            "{message}"
        );
        let columns = "image=1,caption=2,caption=3".parse().unwrap();
        let found = read(
            Path::new("t.csv"),
            text,
            Some(&columns),
            &mut Log::default(),
        )
        .unwrap();
        assert_eq!(found[1].captions, ["A cat", "It sits"]);
    }
    let lines = "image,caption\na.jpg,A dog\nb.jpg,\"A\",\"B\"\n";
    assert!(refusal(lines, None).contains("line 3 has 3 fields where there are 2 columns"));
    assert!(refusal("image,caption\nx,1.jpg,A, b\n", None).contains("its rows have 4 fields"));
    let text = "image,caption\na.jpg,A dog, big\nb.jpg,A cat, small\n";
    assert_eq!(captions(text)[1].1, "A cat, small");
    assert!(refusal("image,caption\na.jpg,\"['A dog]\"\n", None).contains("a list of captions"));
}

#[test]
fn of_texts_of_several_kinds_the_captions_are_read_which_is_said() {
    for (text, said) in [
        (
            "filename,alt,caption\na.jpg,img,A dog\n",
            "the captions are read from 'caption', and not from 'alt'",
        ),
        (
            "Dateiname;Titel;Beschreibung\na.jpg;Bild;A dog\n",
            "the captions are read from 'Beschreibung', and not from 'Titel'",
        ),
        (
            "file_name,comment,text\na.jpg,checked,A dog\n",
            "the captions are read from 'text', and not from 'comment'",
        ),
    ] {
        let (found, remarks) = rows(text);
        assert_eq!(found[0].captions, ["A dog"]);
        assert_eq!(
            remarks,
            [format!("t.csv: {said}; --columns says otherwise")]
        );
    }
}

#[test]
fn a_mark_swallows_no_rows_of_names_without_ending() {
    let (found, remarks) = rows(
        "image,caption\n0,A man\n1,\"A girl\n2,A dog\n3,A cat\"\n4,\"A cow,\nwhite, on grass\"\n",
    );
    let names: Vec<&str> = found.iter().map(|row| row.image.as_str()).collect();
    assert_eq!(names, ["0", "1", "2", "3", "4"]);
    assert_eq!(found[4].captions, ["A cow,\nwhite, on grass"]);
    assert!(remarks[0].contains("the first is line 3;"), "{remarks:?}");
}

#[test]
fn titles_hold_what_they_hold() {
    let (found, _) = rows("image,caption,\"Note\n(optional)\"\na.jpg,A dog,\nb.jpg,A cat,x\n");
    assert_eq!(found.len(), 2);
    let by = |text: &str, columns: &str| {
        let columns = columns.parse().unwrap();
        let found = read(
            Path::new("t.csv"),
            text,
            Some(&columns),
            &mut Log::default(),
        )
        .unwrap();
        (found[0].image.clone(), found[0].captions.join(" / "))
    };
    let expected = ("a.jpg".to_string(), "A dog".to_string());
    let broken = "image;\"Text\nin Worten\"\na.jpg;A dog\n";
    assert_eq!(by(broken, "image=image,caption=Text in Worten"), expected);
    let barred = "Name,Text (de|en)\na.jpg,A dog\nb.jpg,A cat\n";
    assert_eq!(by(barred, "image=1,caption=2"), expected);
    assert_eq!(
        captions("sep=\t\nBild\tL\u{e9}gende\na.jpg\tA dog\n"),
        [expected]
    );
}
