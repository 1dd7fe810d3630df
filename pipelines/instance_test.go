package pipelines

import (
	"os"
	"path/filepath"
	"testing"
)

func TestInstanceIDIsKept(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "made", "anew")
	first, err := instanceID(dir)
	if err != nil || !instanceForm.MatchString(first) {
		t.Fatal(first, err)
	}
	if again, err := instanceID(dir); err != nil || again != first {
		t.Errorf("%q, then %q, %v", first, again, err)
	}
	if other, err := instanceID(t.TempDir()); err != nil || other == first {
		t.Errorf("another folder has %q too, %v", other, err)
	}
	// A file that was cut off by a crash is replaced.
	if err := os.WriteFile(filepath.Join(dir, "instance"), []byte(first[:5]), 0o644); err != nil {
		t.Fatal(err)
	}
	if anew, err := instanceID(dir); err != nil || !instanceForm.MatchString(anew) || anew == first {
		t.Error(anew, err)
	}
}

func TestInstanceIDNeedsItsFolder(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := instanceID(file); err == nil {
		t.Error("no error")
	}
}
