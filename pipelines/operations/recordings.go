package operations

import (
	"strings"
	"time"

	"github.com/weir-metrics/weir/collect"
	"github.com/weir-metrics/weir/schemas/formats"
)

// RecordedFiles are files of samples.
type RecordedFiles struct {
	Files     []string
	Series    string            // of CSV rows that name none, with {file} for the file's name; "": the file's name
	Precision formats.Precision // of line protocol
	Format    *formats.Format   // nil: each file's first lines tell
}

// open opens the files; closeAll closes them.
func (f RecordedFiles) open() (recordings []*collect.Recording, closeAll func(), err error) {
	closeAll = func() {
		for _, r := range recordings {
			_ = r.Close() // it was only read
		}
	}
	for _, name := range f.Files {
		r, err := collect.OpenRecording(name, formats.Options{
			Series: strings.ReplaceAll(f.Series, "{file}", seriesOf(name)), Precision: f.Precision, Format: f.Format, NowMS: time.Now().UnixMilli(),
		})
		if err != nil {
			closeAll()
			return nil, nil, err
		}
		recordings = append(recordings, r)
	}
	return recordings, closeAll, nil
}
