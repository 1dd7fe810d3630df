package enginetest

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Keep writes something that explains a failed test to a file below the folder WEIR_TEST_LOGS, where it outlives the
// test. If WEIR_TEST_LOGS is not set, as when a test is run by hand, Keep does nothing.
func Keep(t testing.TB, name string, content []byte) {
	t.Helper()
	dir := os.Getenv("WEIR_TEST_LOGS")
	if dir == "" {
		return
	}
	dir = filepath.Join(dir, strings.ReplaceAll(t.Name(), "/", "_"))
	err := os.MkdirAll(dir, 0o700)
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, strings.ReplaceAll(name, "/", "_")), content, 0o600)
	}
	if err != nil {
		t.Logf("not kept: %v", err)
		return
	}
	t.Logf("kept in full: %s", filepath.Join(dir, name))
}
