package pipelines

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"

	"github.com/weir-metrics/weir/deploy/conf"
)

var instanceForm = regexp.MustCompile(`^[A-Za-z2-7]{26}$`)

// instanceID is this data folder's member id in consumer groups. It is kept in the folder, so that a
// process that was killed gets its partitions back at once, instead of when its old session ends.
// The folder is made if need be.
func instanceID(data string) (string, error) {
	if err := conf.OwnFolder(data); err != nil {
		return "", fmt.Errorf("data folder: %w", err)
	}
	file := filepath.Join(data, "instance")
	b, err := conf.ReadSmall(file)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("data folder: %w", err)
	}
	if instanceForm.Match(b) {
		return string(b), nil
	}
	id := rand.Text()
	if err := os.WriteFile(file, []byte(id), 0o600); err != nil {
		return "", fmt.Errorf("data folder: %w", err)
	}
	return id, nil
}
