package lifecycle

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// locked is a text that many goroutines write to.
type locked struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *locked) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *locked) take() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	defer l.text.Reset()
	return l.text.String()
}

// TestBurst: of failures that come together the log tells the first at once, the others as one line
// with their number and the last of them, and what comes after a pause at once again.
func TestBurst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out locked
		log := slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey {
				return slog.Attr{}
			}
			return a
		}}))
		lines := func(want ...string) {
			t.Helper()
			synctest.Wait()
			if got := out.take(); got != strings.Join(want, "") {
				t.Errorf("the log has\n%s", got)
			}
		}
		b := burst{level: slog.LevelWarn, text: "it failed"}
		fail := func(from, to int) {
			for i := from; i <= to; i++ {
				b.tell(log, fmt.Sprint("r", i), errors.New("away"))
			}
		}
		fail(1, 100)
		lines("level=WARN msg=\"it failed\" request=r1 error=away\n")
		time.Sleep(burstTime) // of the bubble
		lines("level=WARN msg=\"it failed\" more=99 request=r100 error=away\n")
		fail(101, 102)
		time.Sleep(burstTime)
		lines("level=WARN msg=\"it failed\" more=2 request=r102 error=away\n")
		time.Sleep(burstTime)
		lines()
		fail(103, 104)
		lines("level=WARN msg=\"it failed\" request=r103 error=away\n")
		b.tellMore(log, true)
		lines("level=WARN msg=\"it failed\" more=1 request=r104 error=away\n")
		time.Sleep(2 * burstTime)
		lines()
	})
}
