package api

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"io"
	"unicode/utf8"

	"github.com/gofiber/fiber/v2"

	"github.com/hark-push/hark/lifecycle"
)

// assignments are JSON in which the contents of work stand, as it is sent: these are not copied.
type assignments struct {
	parts []io.WriterTo
	size  int
}

// text adds JSON as it is.
func (a *assignments) text(b []byte) {
	a.parts, a.size = append(a.parts, bytes.NewReader(b)), a.size+len(b)
}

// add adds an assignment with what is worked on: JSON as it was submitted, other bytes in base64.
func (a *assignments) add(work assignment, content lifecycle.Content) error {
	head, err := encode(work)
	if err != nil {
		return err
	}
	head = bytes.TrimSuffix(bytes.TrimSpace(head), []byte("}")) // it has members
	if lifecycle.IsJSON(content.Type) && json.Valid(content.Data) && utf8.Valid(content.Data) {
		a.text(append(head, `,"content":`...))
		a.text(content.Data)
		a.text([]byte("}"))
		return nil
	}
	a.text(append(head, `,"contentBase64":"`...))
	a.parts, a.size = append(a.parts, encoded(content.Data)), a.size+base64.StdEncoding.EncodedLen(len(content.Data))
	a.text([]byte(`"}`))
	return nil
}

// send answers with them. What was begun must be told, so that others wait if there is no room for it.
func (a *assignments) send(c *fiber.Ctx) error {
	claim, err := claimAnswer(c, a.size, true)
	if err != nil {
		return err
	}
	c.Set(fiber.HeaderContentType, "application/json")
	c.Status(fiber.StatusOK)
	if claim != nil {
		sendHeld(c, claim, a.size, a.parts...)
		return nil
	}
	body := bytes.NewBuffer(make([]byte, 0, a.size))
	for _, part := range a.parts {
		if _, err := part.WriteTo(body); err != nil {
			return err
		}
	}
	return c.Send(body.Bytes())
}
