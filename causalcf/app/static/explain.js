// The tab that explains a classifier; shown where one comes along with the data.

export function startExplain(panel, tab) {
  tab.hidden = true;
  panel.hidden = true;
}
