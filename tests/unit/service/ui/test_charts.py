"""Figures."""

from service.ui.charts import Chart, axis, line


def test_a_figure_has_what_was_given_and_no_markup_of_others() -> None:
    link = '<a href="https://evil.example">class & name</a>'
    chart = Chart(
        id="a",
        title="a",
        data=[line(link, (1, 2), [None, 2.5], hovertemplate="%{y}<extra></extra>", text=[link])],
        layout={"yaxis": axis("loss", type="log")},
        columns=(),
        rows=(),
    )
    inert = link.replace("&", "&amp;").replace("<", "&lt;")
    (trace,) = chart.figure["data"]
    assert (trace["x"], trace["y"]) == ([1, 2], [None, 2.5])
    assert (trace["name"], trace["text"]) == (inert, [inert])
    assert trace["hovertemplate"] == "%{y}<extra></extra>"
    assert chart.figure["layout"] == {"yaxis": {"title": {"text": "loss"}, "type": "log"}}
