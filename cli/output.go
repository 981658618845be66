package cli

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"
)

// Output are the flags of what is printed.
type Output struct {
	JSON bool `name:"json" help:"Print JSON, a value a line."`
}

// table is what people get: columns under their names. Nothing of it leaves before end.
type table struct {
	w    *tabwriter.Writer
	rows int
}

func newTable(out io.Writer, columns ...string) *table {
	t := &table{w: tabwriter.NewWriter(out, 0, 8, 2, ' ', 0)}
	t.write(columns)
	return t
}

func (t *table) write(cells []string) {
	for i, c := range cells {
		if c = plain(c); c == "" {
			c = "-"
		}
		if i > 0 {
			_, _ = t.w.Write([]byte{'\t'})
		}
		_, _ = io.WriteString(t.w, strings.NewReplacer("\t", " ", "\n", " ").Replace(c))
	}
	_, _ = t.w.Write([]byte{'\n'})
}

func (t *table) row(cells ...string) { t.rows++; t.write(cells) }
func (t *table) end() error          { return t.w.Flush() }

// plain leaves out what would do something at a terminal: anybody may have written what is shown.
func plain(text string) string {
	return strings.Map(func(r rune) rune {
		if r != '\n' && r != '\t' && !unicode.IsPrint(r) {
			return '\uFFFD'
		}
		return r
	}, text)
}

// line prints one JSON value in a line.
func line(out io.Writer, value any) error {
	if raw, ok := value.(json.RawMessage); ok {
		var b bytes.Buffer
		if err := json.Compact(&b, raw); err != nil {
			return err
		}
		_, err := out.Write(append(b.Bytes(), '\n'))
		return err
	}
	e := json.NewEncoder(out)
	e.SetEscapeHTML(false)
	return e.Encode(value)
}

// at shows a time of a document in whole seconds, in UTC as logs have it, or nothing.
func at(text string) string {
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return ""
	}
	return t.UTC().Format(time.RFC3339)
}

// request is what is shown of a request's document.
type request struct {
	ID        string   `json:"id"`
	Owner     string   `json:"owner"`
	Status    string   `json:"status"`
	Route     string   `json:"route"`
	Topic     string   `json:"topic"`
	Step      string   `json:"step"`
	Percent   *float64 `json:"percent"`
	Message   string   `json:"message"`
	Attempt   int      `json:"attempt"`
	Position  *int64   `json:"position"`
	ETA       string   `json:"eta"`
	CreatedAt string   `json:"createdAt"`
	UpdatedAt string   `json:"updatedAt"`
	StartedAt string   `json:"startedAt"`
	EndedAt   string   `json:"endedAt"`
	ExpiresAt string   `json:"expiresAt"`
	Error     *struct {
		Code    string `json:"code"`
		Message string `json:"message"`
	} `json:"error"`
	Question *struct {
		Name string `json:"name"`
	} `json:"question"`
	Result *struct {
		ContentType string `json:"contentType"`
		Size        int64  `json:"size"`
	} `json:"result"`
}

// about is the newest that there is to say of a request.
func (r *request) about() string {
	var parts []string
	if r.Percent != nil && r.Status == "processing" {
		parts = append(parts, strconv.FormatFloat(*r.Percent, 'f', -1, 64)+"%")
	}
	switch {
	case r.Error != nil:
		parts = append(parts, r.why())
	case r.Question != nil:
		parts = append(parts, "asks: "+r.Question.Name)
	case r.Position != nil && r.Status == "pending":
		parts = append(parts, fmt.Sprintf("%d before it", *r.Position))
	default:
		for _, text := range []string{r.Step, r.Message} {
			if text != "" {
				parts = append(parts, text)
			}
		}
	}
	return strings.Join(parts, " ")
}

func (r *request) why() string {
	if r.Error == nil {
		return ""
	}
	if r.Error.Message == "" {
		return r.Error.Code
	}
	return r.Error.Code + ": " + r.Error.Message
}

// outcome is nil if a request has ended with success, or not yet.
func (r *request) outcome() error {
	switch r.Status {
	case "failed", "canceled", "expired":
		return &endedError{r.Status, r.why()}
	}
	return nil
}

// bar is progress on a terminal, in one line that is written over; elsewhere nothing.
type bar struct {
	s     *Streams
	shown int // characters
}

// show shows a part of a whole, from 0 to 1, and words behind it.
func (b *bar) show(part float64, words string) {
	if !b.s.Terminal {
		return
	}
	const width = 30
	full := int(min(max(part, 0), 1) * width)
	text := fmt.Sprintf("[%s%s] %3.0f%% %s", strings.Repeat("#", full), strings.Repeat(".", width-full), min(max(part, 0), 1)*100, plain(strings.ReplaceAll(words, "\n", " ")))
	if runes := []rune(text); len(runes) > 78 {
		text = string(runes[:78])
	}
	n := len([]rune(text))
	_, _ = fmt.Fprint(b.s.Err, "\r", text, strings.Repeat(" ", max(b.shown-n, 0)))
	b.shown = n
}

// clear takes it away.
func (b *bar) clear() {
	if b.shown > 0 {
		_, _ = fmt.Fprint(b.s.Err, "\r", strings.Repeat(" ", b.shown), "\r")
		b.shown = 0
	}
}

// aside says what goes on, in a line of its own.
func (b *bar) aside(text string) {
	b.clear()
	_, _ = fmt.Fprintln(b.s.Err, "hark:", plain(text))
}

// sure asks whether something is to be done that cannot be undone. Where nobody can answer, --yes
// has to.
func (s *Streams) sure(yes bool, what string) error {
	if yes {
		return nil
	}
	if !s.Asks {
		return Usage(errors.New(what + " cannot be undone: add --yes"))
	}
	_, _ = fmt.Fprintf(s.Err, "%s cannot be undone. Go on? [y/N] ", what)
	answer, _ := bufio.NewReader(s.In).ReadString('\n')
	if a := strings.ToLower(strings.TrimSpace(answer)); a != "y" && a != "yes" {
		return errors.New("nothing was done")
	}
	return nil
}
