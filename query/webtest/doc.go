// Package webtest attacks a listener with hostile requests (Attacks), and looks at weir's page in a
// real browser: it starts chromium without a window, opens an address, waits for a condition in the
// page, reads what is drawn, and saves screenshots.
//
// Contract: a test kit. The browser is the one that WEIR_CHROMIUM names, or chromium on the PATH
// (Debian's package chromium). It is driven through its debugging pipe, so no port is opened and
// nothing but the browser is needed.
package webtest
