"""`causalcf trust`: a verdict on the screen, a page on the disk."""

import csv

from causalcf.queries.examples import linear


def test_a_model_and_a_table_give_a_verdict_and_a_page(run, tmp_path):
    scm = linear()
    scm.save(tmp_path / "m.safetensors")
    rows = scm.sample(300, seed=1)
    with (tmp_path / "rows.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(rows)
        writer.writerows(zip(*(value.tolist() for value in rows.values()), strict=True))
    page = tmp_path / "trust.html"
    code, out, _ = run(
        "trust", str(tmp_path / "m.safetensors"), "--data", str(tmp_path / "rows.csv"), "--out", str(page)
    )
    assert code == 0
    assert out.splitlines()[0].startswith(("Nothing was found", "Trust it with care"))
    assert "ok    Does each mechanism fit? Yes" in out
    assert "rows.csv" in page.read_text()


def test_a_report_is_a_page(run, tmp_path):
    code, _, err = run("trust", "m.safetensors", "--data", "digits", "--out", str(tmp_path / "trust.pdf"))
    assert code == 2
    assert "the report is a page, .html" in err
