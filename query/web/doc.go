// Package web is weir's pages, of the series and alerts and of the rules: two HTML files, scripts, a style sheet and uPlot 1.6.32 (uplot/,
// with its licence; from the npm package of that name), embedded, so that it works on a machine
// without internet.
//
// Contract: no framework, no build step, no inline script or style, nothing from another host; the
// Content-Security-Policy holds the page to that. Metric names, labels and annotations are written
// as text and never as HTML; characters in them that are invisible, or that reverse the reading
// order, are shown by name. All tabs of a browser share one live stream (stream.js).
package web
