package httpbody

import (
	"mime"
	"strings"

	"github.com/gofiber/fiber/v2"

	"github.com/hark-push/hark/gateway/api/problem"
	"github.com/hark-push/hark/lifecycle"
)

// JSONHint says how a body is sent that has to be JSON.
const JSONHint = "Send it with -H 'Content-Type: application/json', as curl writes the field."

// IsJSON tells application/json, which is an envelope, from the +json types,
// which are work like any other bytes.
func IsJSON(mediaType string) bool {
	t, _, _ := strings.Cut(mediaType, ";")
	return strings.EqualFold(strings.TrimSpace(t), "application/json")
}

// ReadContent returns a body of at most so many bytes with its media type.
func ReadContent(c *fiber.Ctx, most int) (content lifecycle.Content, err error) {
	if content.Type, err = MediaType(c); err != nil {
		return lifecycle.Content{}, err
	}
	content.Data, err = Read(c, most)
	return content, err
}

// MediaType returns the media type of a body as its head says it; a body without one is
// application/octet-stream (RFC 9110, section 8.3). The error is a problem if it cannot be taken as
// it is.
func MediaType(c *fiber.Ctx) (string, error) {
	if e := c.Get(fiber.HeaderContentEncoding); e != "" && !strings.EqualFold(e, "identity") {
		c.Set(fiber.HeaderAcceptEncoding, "identity")
		return "", &problem.Details{Kind: problem.MediaType, Detail: "Send the body without a content encoding."}
	}
	text := strings.Clone(c.Get(fiber.HeaderContentType))
	switch {
	case text == "":
		return "application/octet-stream", nil
	case text == "application/json": // as nearly all say it
		return text, nil
	case len(text) > 256:
		return "", &problem.Details{Kind: problem.MediaType, Detail: "The Content-Type is too long."}
	}
	t, params, err := mime.ParseMediaType(text)
	if err != nil || !strings.Contains(t, "/") {
		return "", &problem.Details{Kind: problem.MediaType, Detail: "The Content-Type is not a media type."}
	}
	if charset := params["charset"]; charset != "" && lifecycle.IsJSON(text) && !strings.EqualFold(charset, "utf-8") && !strings.EqualFold(charset, "us-ascii") {
		return "", &problem.Details{Kind: problem.MediaType, Detail: "JSON is sent in UTF-8 (RFC 8259)."}
	}
	return text, nil
}

// ReadJSON returns a body that has to be application/json; else the problem has that detail,
// and how it is sent.
func ReadJSON(c *fiber.Ctx, most int, detail string) ([]byte, error) {
	t, err := MediaType(c)
	if err != nil {
		return nil, err
	}
	if !IsJSON(t) {
		return nil, &problem.Details{Kind: problem.MediaType, Detail: detail + " " + JSONHint}
	}
	return Read(c, most)
}
