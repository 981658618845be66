package api

import (
	"io"
	"log/slog"
	"strconv"

	"github.com/hark-push/hark/gateway/api/httpbody"
	"github.com/hark-push/hark/hub"
	"github.com/hark-push/hark/lifecycle"
)

// history is the JSON of stored events, which is made as it is read. One goroutine uses it.
type history struct {
	api     *API
	channel lifecycle.Channel
	limit   int  // events, at most
	thin    bool // they are told in thin form

	offset    uint64 // of the last event that was written
	n         int    // events that were
	next      int    // how many are read next
	recovered bool   // nothing is missing
	oldest    uint64 // the first that there is, if something is missing
	elsewhere bool   // the client asked for what came after an event of another life

	made  []byte // and not read yet
	began bool
	ended bool // it is complete
}

// How many events are read from the store at a time: at first, and at most. In between it goes by
// how long they are, so that a page has about the bytes of a piece.
const (
	firstEvents = 8
	mostEvents  = 64
)

// Read implements [io.Reader].
func (h *history) Read(p []byte) (int, error) {
	for len(h.made) == 0 {
		if h.ended {
			return 0, io.EOF
		}
		if err := h.fill(); err != nil {
			h.api.log.Warn("stored events could not be sent to their end", slog.String("channel", h.channel.String()), slog.Any("error", err))
			return 0, err
		}
	}
	n := copy(p, h.made)
	h.made = h.made[n:]
	return n, nil
}

// fill makes some more of it: until it is complete, or as much as a piece has.
func (h *history) fill() error {
	h.made = h.made[:0:0]
	if !h.began {
		h.began = true
		h.made = append(h.made, `{"events":[`...)
	}
	for !h.ended && len(h.made) < httpbody.PieceSize {
		if err := h.page(); err != nil {
			return err
		}
	}
	return nil
}

// page makes the next events, or the end.
func (h *history) page() error {
	if h.n >= h.limit {
		h.end()
		return nil
	}
	ctx := h.api.storeContext()
	page, err := h.api.Source.Read(ctx, h.channel.Key(), h.offset, min(h.next, h.limit-h.n))
	if err != nil {
		return err
	}
	if len(page.Messages) == 0 {
		if h.offset != page.Top {
			// All is gone, or there never was such an offset: the channel lost its end, or is
			// another one of the same name.
			h.recovered, h.oldest = false, page.Top+1
			if h.offset > page.Top {
				if h.oldest, err = h.api.oldest(ctx, h.channel.Key(), page.Top); err != nil {
					return err
				}
			}
		}
		if h.n == 0 {
			h.offset = page.Top
		}
		h.end()
		return nil
	}
	if h.offset == 0 {
		h.offset = page.Begin
	}
	if first := page.Messages[0].Offset; first != h.offset+1 {
		h.recovered, h.oldest = false, first
	}
	before := len(h.made)
	for _, m := range page.Messages {
		if h.n > 0 {
			h.made = append(h.made, ',')
		}
		if h.thin {
			h.made = m.Thin.AppendThin(h.made, h.channel.Key())
		} else {
			h.made = append(h.made, m.Event...)
		}
		h.offset = m.Offset
		h.n++
	}
	each := (len(h.made)-before)/len(page.Messages) + 1
	h.next = min(httpbody.PieceSize/each+1, mostEvents)
	if h.offset >= page.Top {
		h.end()
	}
	return nil
}

// end writes what stands behind the events.
func (h *history) end() {
	h.ended = true
	if h.elsewhere && h.recovered { // it begins with the first
		h.recovered, h.oldest = false, 1
	}
	b := h.made
	b = append(b, `],"offset":`...)
	b = strconv.AppendUint(b, h.offset, 10)
	b = append(append(append(b, `,"cursor":"`...), hub.Cursor{Offset: h.offset, Epoch: h.channel.Life}.String()...), '"')
	b = strconv.AppendBool(append(b, `,"recovered":`...), h.recovered)
	if !h.recovered {
		b = strconv.AppendUint(append(b, `,"oldest":`...), h.oldest, 10)
	}
	b = append(b, '}')
	h.made = b
}
