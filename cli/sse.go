package cli

import (
	"bufio"
	"errors"
	"io"
	"strconv"
	"strings"
	"time"
)

// block is one of a stream of Server-Sent Events (WHATWG HTML, section 9.2).
type block struct {
	id, name, data string
	hasID          bool
	retry          time.Duration // 0: it does not say
}

// maxBlock is how long a block may be, in bytes: an event has the result of its request in it.
const maxBlock = 256 << 20

// blocks reads a stream.
type blocks struct{ r *bufio.Reader }

// next returns the next block that is whole; one that was cut is none.
func (b *blocks) next() (block, error) {
	var out block
	var data []string
	size, said := 0, false
	for {
		text, err := b.r.ReadString('\n')
		if err != nil {
			return block{}, err
		}
		if size += len(text); size > maxBlock {
			return block{}, errors.New("the stream has an event that does not end")
		}
		text = strings.TrimSuffix(strings.TrimSuffix(text, "\n"), "\r")
		if text == "" {
			if said {
				out.data = strings.Join(data, "\n")
				return out, nil
			}
			continue
		}
		field, value, _ := strings.Cut(text, ":")
		value = strings.TrimPrefix(value, " ")
		switch field {
		case "data":
			data = append(data, value)
		case "event":
			out.name = value
		case "id":
			out.id, out.hasID = value, true
		case "retry":
			if ms, err := strconv.Atoi(value); err == nil && ms >= 0 {
				out.retry = time.Duration(ms) * time.Millisecond
			}
		default: // a comment, or what is not known
			continue
		}
		said = true
	}
}

// heard calls f whenever something is read.
type heard struct {
	r io.Reader
	f func()
}

func (h heard) Read(p []byte) (int, error) {
	n, err := h.r.Read(p)
	if n > 0 {
		h.f()
	}
	return n, err
}
