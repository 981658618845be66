package codec

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hark-push/hark/lifecycle"
)

// Damages counts what a store has found damaged, and logs it. A nil one does neither; methods may
// be called concurrently.
type Damages struct {
	log   *slog.Logger
	count atomic.Uint64

	mu   sync.Mutex
	told map[string]time.Time // when each was logged
}

// NewDamages returns one that logs to log.
func NewDamages(log *slog.Logger) *Damages {
	return &Damages{log: log, told: make(map[string]time.Time)}
}

// Count is how often something damaged was come upon.
func (d *Damages) Count() uint64 {
	if d == nil {
		return 0
	}
	return d.count.Load()
}

// How long the same damage is not logged again, and how many are remembered.
const (
	tellAgain = time.Minute
	mostTold  = 4096
)

// Note counts err, logs it unless that was done within the last minute, and returns it.
func (d *Damages) Note(err error) error {
	if d.toTell(err) {
		attrs := []slog.Attr{slog.Any("error", err)}
		if damage, ok := errors.AsType[*lifecycle.DamageError](err); ok && damage.ID != "" {
			attrs = append(attrs, slog.String("request", damage.ID))
		}
		d.log.LogAttrs(context.Background(), slog.LevelError, "something stored is damaged and is not handed out: all else goes on; see `store check`", attrs...)
	}
	return err
}

// Mended counts and logs something that was damaged, of which there was another copy.
func (d *Damages) Mended(err error) {
	if d.toTell(err) {
		d.log.LogAttrs(context.Background(), slog.LevelWarn,
			"something stored was damaged: nothing is lost, because it was there twice, and it was written anew; look after the disk", slog.Any("error", err))
	}
}

// toTell counts a damage, and reports whether it is to be logged.
func (d *Damages) toTell(err error) bool {
	if d == nil {
		return false
	}
	d.count.Add(1)
	text, now := err.Error(), time.Now()
	d.mu.Lock()
	last, known := d.told[text]
	tell := !known || now.Sub(last) >= tellAgain
	if tell {
		if len(d.told) >= mostTold {
			clear(d.told)
		}
		d.told[text] = now
	}
	d.mu.Unlock()
	return tell
}
