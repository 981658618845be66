package api

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"io"
	"unicode/utf8"

	"github.com/gofiber/fiber/v2"

	"github.com/hark-push/hark/gateway/api/httpbody"
	"github.com/hark-push/hark/lifecycle"
)

// assignments are JSON in which the contents of work stand. Large ones are read from the store
// while they are sent, and not held until then: whoever takes work may take it slowly.
type assignments struct {
	api   *API
	parts []io.WriterTo
	size  int
}

// text adds JSON as it is.
func (a *assignments) text(b []byte) {
	a.parts, a.size = append(a.parts, bytes.NewReader(b)), a.size+len(b)
}

// add adds an assignment to a request, or what else is told of one, with what is worked on: JSON as
// it was submitted, other bytes in base64.
func (a *assignments) add(work any, of lifecycle.Ref, content lifecycle.Content) error {
	head, err := encode(work)
	if err != nil {
		return err
	}
	head = bytes.TrimSuffix(bytes.TrimSpace(head), []byte("}")) // it has members
	size, data := len(content.Data), io.WriterTo(bytes.NewReader(content.Data))
	if size > httpbody.PieceSize {
		data = a.api.contentOf(of, lifecycle.Input, int64(size))
	}
	if lifecycle.IsJSON(content.Type) && json.Valid(content.Data) && utf8.Valid(content.Data) {
		a.text(append(head, `,"content":`...))
		a.parts, a.size = append(a.parts, data), a.size+size
		a.text([]byte("}"))
		return nil
	}
	a.text(append(head, `,"contentBase64":"`...))
	a.parts, a.size = append(a.parts, encoded{data}), a.size+base64.StdEncoding.EncodedLen(size)
	a.text([]byte(`"}`))
	return nil
}

// send ends the line and answers with it.
func (a *assignments) send(c *fiber.Ctx) error {
	a.text([]byte("\n"))
	c.Set(fiber.HeaderContentType, "application/json")
	return httpbody.SendParts(c, a.parts, a.size)
}

// encoded writes what something writes in base64.
type encoded struct{ of io.WriterTo }

// WriteTo implements [io.WriterTo].
func (e encoded) WriteTo(w io.Writer) (int64, error) {
	encoder := base64.NewEncoder(base64.StdEncoding, w)
	n, err := e.of.WriteTo(encoder)
	if err == nil {
		err = encoder.Close()
	}
	return n, err
}
