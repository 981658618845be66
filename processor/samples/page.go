package samples

import (
	"bytes"
	"io"
	"mime"
	"net/url"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/net/html"
	"golang.org/x/net/html/atom"
	"golang.org/x/net/html/charset"

	"github.com/hark-push/hark/lifecycle"
)

// Page is what is in a web page, the result of [Fetch]. All texts are UTF-8 with
// their white space collapsed.
type Page struct {
	URL         string `json:"url"` // after redirects
	Status      int    `json:"status"`
	Title       string `json:"title"`
	Description string `json:"description"`
	Canonical   string `json:"canonical"` // absolute; "" if it names none
	Lang        string `json:"lang"`
	Text        string `json:"text"` // the readable part, a line for each block
	Truncated   bool   `json:"truncated"`
	Links       int    `json:"links"` // a elements with an href
	Bytes       int    `json:"bytes"` // of the page as it was sent, decompressed
}

// Bounds in bytes.
const (
	maxText  = 64 << 10
	maxField = 1 << 10
)

// extract reads a page in the charset that its content type or its own text
// names.
func extract(body []byte, contentType string, at *url.URL) (Page, error) {
	page := Page{URL: at.String()}
	if len(body) == 0 {
		return page, nil
	}
	r, err := charset.NewReader(bytes.NewReader(body), contentType)
	if err != nil {
		return Page{}, err
	}
	if mediaType, _, _ := mime.ParseMediaType(contentType); mediaType == "text/plain" {
		text, err := io.ReadAll(r)
		if err != nil {
			return Page{}, err
		}
		var w textWriter
		for line := range strings.Lines(string(text)) {
			w.write(line)
			w.endBlock()
		}
		page.Text, page.Truncated = w.text()
		return page, nil
	}
	document, err := html.Parse(r) // bounds how deep elements nest
	if err != nil {
		return Page{}, err
	}
	page.readHead(document, at)
	main := find(document, func(n *html.Node) bool { return n.DataAtom == atom.Main })
	if main == nil {
		main = find(document, func(n *html.Node) bool { return n.DataAtom == atom.Article })
	}
	if main == nil {
		main = document
	}
	var w textWriter
	w.node(main)
	page.Text, page.Truncated = w.text()
	return page, nil
}

// readHead takes what is told about the page, wherever it stands.
func (p *Page) readHead(document *html.Node, at *url.URL) {
	base := at
	var summary string // OpenGraph's description, the second choice
	for n := range document.Descendants() {
		if n.Type != html.ElementNode || n.Namespace != "" {
			continue
		}
		switch n.DataAtom {
		case atom.Html:
			p.Lang = field(attribute(n, "lang"))
		case atom.Title:
			if p.Title == "" && n.FirstChild != nil {
				p.Title = field(n.FirstChild.Data)
			}
		case atom.Base:
			if u, err := at.Parse(attribute(n, "href")); err == nil {
				base = u
			}
		case atom.Meta:
			switch content := field(attribute(n, "content")); {
			case p.Description == "" && strings.EqualFold(attribute(n, "name"), "description"):
				p.Description = content
			case strings.EqualFold(attribute(n, "property"), "og:description"):
				summary = content
			}
		case atom.Link:
			u, err := base.Parse(strings.TrimSpace(attribute(n, "href")))
			if p.Canonical == "" && strings.EqualFold(attribute(n, "rel"), "canonical") && err == nil && (u.Scheme == "http" || u.Scheme == "https") {
				p.Canonical = field(u.String())
			}
		case atom.A:
			if attribute(n, "href") != "" {
				p.Links++
			}
		}
	}
	if p.Description == "" {
		p.Description = summary
	}
}

// skipped are the elements whose text is not what a page is about, or is not text.
var skipped = map[atom.Atom]bool{
	atom.Head: true, atom.Script: true, atom.Style: true, atom.Noscript: true, atom.Template: true,
	atom.Nav: true, atom.Header: true, atom.Footer: true, atom.Aside: true, atom.Form: true,
	atom.Svg: true, atom.Math: true, atom.Iframe: true, atom.Object: true, atom.Select: true,
	atom.Button: true, atom.Textarea: true, atom.Canvas: true, atom.Audio: true, atom.Video: true,
}

// inline are the elements that do not begin a new line.
var inline = map[atom.Atom]bool{
	atom.A: true, atom.Abbr: true, atom.B: true, atom.Bdi: true, atom.Bdo: true, atom.Cite: true,
	atom.Code: true, atom.Data: true, atom.Del: true, atom.Dfn: true, atom.Em: true, atom.Font: true,
	atom.I: true, atom.Img: true, atom.Ins: true, atom.Kbd: true, atom.Label: true, atom.Mark: true,
	atom.Q: true, atom.Ruby: true, atom.S: true, atom.Samp: true, atom.Small: true, atom.Span: true,
	atom.Strong: true, atom.Sub: true, atom.Sup: true, atom.Time: true, atom.Tt: true, atom.U: true,
	atom.Var: true, atom.Wbr: true,
}

// textWriter collects text with its white space collapsed.
type textWriter struct {
	out   strings.Builder
	space bool // a space is due before the next word
	line  bool // a line break is due before the next word
	full  bool
}

// node writes the readable text below n.
func (w *textWriter) node(n *html.Node) {
	if w.full {
		return
	}
	if n.Type == html.TextNode {
		w.write(n.Data)
		return
	}
	if n.Type == html.ElementNode && (skipped[n.DataAtom] || hidden(n)) {
		return
	}
	block := n.Type == html.ElementNode && !inline[n.DataAtom]
	if block {
		w.endBlock()
	}
	for c := range n.ChildNodes() {
		w.node(c)
	}
	if block {
		w.endBlock()
	}
}

func (w *textWriter) endBlock() { w.line = true }

func (w *textWriter) write(s string) {
	for _, r := range s {
		if unicode.IsSpace(r) {
			w.space = true
			continue
		}
		if r == utf8.RuneError || unicode.IsControl(r) {
			continue
		}
		if w.out.Len()+1+utf8.RuneLen(r) > maxText {
			w.full = true
			return
		}
		if w.out.Len() > 0 {
			switch {
			case w.line:
				w.out.WriteByte('\n')
			case w.space:
				w.out.WriteByte(' ')
			}
		}
		w.space, w.line = false, false
		w.out.WriteRune(r)
	}
}

func (w *textWriter) text() (text string, truncated bool) { return w.out.String(), w.full }

func hidden(n *html.Node) bool {
	for _, a := range n.Attr {
		if a.Key == "hidden" || a.Key == "aria-hidden" && a.Val == "true" {
			return true
		}
	}
	return false
}

func attribute(n *html.Node, key string) string {
	for _, a := range n.Attr {
		if a.Namespace == "" && a.Key == key {
			return a.Val
		}
	}
	return ""
}

func find(n *html.Node, is func(*html.Node) bool) *html.Node {
	for d := range n.Descendants() {
		if d.Type == html.ElementNode && is(d) {
			return d
		}
	}
	return nil
}

// field collapses a short text.
func field(s string) string {
	return lifecycle.Clip(strings.Join(strings.Fields(strings.ToValidUTF8(s, "")), " "), maxField)
}
