package attack

import (
	"errors"
	"os"
	"path/filepath"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/hark-push/hark/loadtest/measure"
)

// probeEvery is how long the disk is left alone between two looks.
const probeEvery = 20 * time.Millisecond

// watchDisk writes a page of a file in a folder again and again, which costs the disk little, and
// returns how long each sync took when it is stopped.
func watchDisk(dir string) (stop func() *hdrhistogram.Histogram, err error) {
	file, err := os.Create(filepath.Join(dir, "probe"))
	if err != nil {
		return nil, err
	}
	page := make([]byte, 4<<10)
	if _, err := file.Write(page); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	done, measured := make(chan struct{}), make(chan *hdrhistogram.Histogram)
	go func() {
		syncs := measure.NewHistogram()
		defer func() {
			_ = file.Close() // it is not needed any more
			measured <- syncs
		}()
		for {
			began := time.Now()
			if _, err := file.WriteAt(page, 0); err != nil {
				return
			}
			if file.Sync() != nil {
				return
			}
			measure.Record(syncs, time.Since(began))
			select {
			case <-time.After(probeEvery):
			case <-done:
				return
			}
		}
	}()
	return func() *hdrhistogram.Histogram { close(done); return <-measured }, nil
}
