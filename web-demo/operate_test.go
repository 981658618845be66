package webdemo_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

// agrees lets every question of the page that follows be answered with yes.
func (p *page) agrees() {
	p.do(chromedp.Evaluate[chromedp.Void](`void (window.confirm = () => true)`))
}

// tab chooses what is seen of the page for operators.
func (p *page) tab(name string) {
	p.t.Helper()
	p.do(chromedp.Click(chromedp.CSS("#tab-" + name)))
	p.until(`!document.querySelector('#pane-` + name + `').hidden`)
}

// cell is what a row of a table of figures says under a name.
func cell(table, row, name string) string {
	return fmt.Sprintf(`document.querySelector('#%s [data-id="%s"] [data-name="%s"]')?.textContent`, table, row, name)
}

// testOperate: the page for operators shows how routes fare, finds requests, and what is done there
// is done.
func testOperate(t *testing.T, b *browser, base string) {
	p := b.open(t, base+"/operate.html")
	p.agrees()
	p.until(`document.querySelectorAll('#routes tr').length > 2 && document.querySelector('#role').hidden`)
	p.until(`document.querySelector('#feed').textContent === 'live'`)
	t.Logf("the first paint of the page for operators came after %.0f ms", eval[float64](p, `performance.getEntriesByName('first-contentful-paint')[0].startTime`))
	p.until(cell("routes", "sleep", "Processors") + ` !== '0'`)

	// What is submitted there is shown, with its steps and its content.
	p.tab("submit")
	p.do(chromedp.SetValue(chromedp.CSS("#submit-route"), "sleep"), chromedp.SetValue(chromedp.CSS("#submit-content"), `{"steps":1`), chromedp.Click(chromedp.CSS("#submit [type=submit]")))
	p.until(`document.querySelector('#problem').textContent.startsWith('The content is no JSON')`)
	p.do(chromedp.SetValue(chromedp.CSS("#submit-content"), `{"steps":1,"duration":"1ms"}`), chromedp.Click(chromedp.CSS("#submit [type=submit]")))
	p.until(`location.hash.startsWith('#request/') && document.querySelector('#request-status').textContent === 'succeeded'`)
	p.until(`[...document.querySelectorAll('#request-timeline .label')].map(e => e.textContent).at(-1) === 'Succeeded'`)
	p.do(chromedp.Click(chromedp.CSS("#submission summary")))
	p.until(`document.querySelector('#submission-content').textContent.includes('"1ms"')`)

	// What fails elsewhere is pushed into the list; it can be redriven, and forgotten.
	id := post(t, base+"/v1/requests", `{"route":"sleep","maxAttempts":1,"content":{"steps":1,"duration":"1ms","fail":true}}`)["id"].(string)
	p.until(`document.querySelector('#requests [data-id="` + id + `"] .badge')?.textContent === 'failed'`)
	p.do(chromedp.Click(chromedp.CSS(`#requests button[data-id="` + id + `"]`)))
	p.until(`document.querySelector('#request-id').textContent === '` + id + `' && !document.querySelector('#request-failure').hidden`)
	p.do(chromedp.Click(chromedp.CSS("#request-redrive")))
	p.until(`[...document.querySelectorAll('#request-timeline .label')].map(e => e.textContent).filter(e => e === 'Failed').length === 2`)
	p.until(`[...document.querySelectorAll('#request-timeline .label')].some(e => e.textContent === 'Redriven')`)
	p.tab("dead")
	p.do(chromedp.Click(chromedp.CSS(`#dead-routes [data-route=sleep]`)))
	p.until(`document.querySelector('#dead-list > [data-id="` + id + `"]') !== null`)
	p.do(chromedp.Click(chromedp.CSS(`#dead-list > [data-id="`+id+`"] summary`)), chromedp.Click(chromedp.CSS(`#dead-list > [data-id="`+id+`"] .row button:last-child`)))
	p.until(`document.querySelector('#dead-list > [data-id="` + id + `"]') === null`)

	// A batch has its requests, and many are canceled at once.
	batch := post(t, base+"/v1/batches", `{"requests":[{"route":"default","content":1,"topic":"many"},{"route":"default","content":2,"topic":"many"}]}`)["id"].(string)
	p.do(chromedp.Evaluate[chromedp.Void](`void (location.hash = '#request/` + batch + `')`))
	p.until(`document.querySelectorAll('#member-list .badge[data-status=pending]').length === 2`)
	p.do(chromedp.SetValue(chromedp.CSS("#find-topic"), "many"), chromedp.Click(chromedp.CSS("#find [type=submit]")))
	p.until(`document.querySelector('#cancel-all').textContent === 'Cancel all 2 that are listed'`)
	p.do(chromedp.Click(chromedp.CSS("#cancel-all")))
	p.until(`document.querySelectorAll('#requests .badge[data-status=canceled]').length === 2 && document.querySelector('#cancel-all').hidden`)
	p.until(`document.querySelectorAll('#member-list .badge[data-status=canceled]').length === 2`)
	p.do(chromedp.SetValue(chromedp.CSS("#find-id"), "nothing-like-it"))
	p.networkErrors.Store(true) // the browser tells of a 404
	p.do(chromedp.Click(chromedp.CSS("#find [type=submit]")))
	p.until(`document.querySelector('#request-status').textContent === 'unknown' && document.querySelector('#request-cancel').hidden`)

	// Who is there, and by keyboard alone.
	p.do(chromedp.Focus(chromedp.CSS("#tab-requests")), chromedp.KeyEvent(kb.ArrowRight), chromedp.KeyEvent(kb.ArrowRight))
	p.until(`document.activeElement.id === 'tab-nodes' && document.querySelectorAll('#nodes tr').length === 1`)
	p.until(`document.querySelector('#nodes th').textContent.startsWith('gateway')`)
	nameless := eval[[]string](p, `[...document.querySelectorAll('button, input, select, textarea, summary, a[href], pre[tabindex], svg[role=img]')]
		.filter(e => !(e.labels?.length || e.getAttribute('aria-label') || e.textContent.trim() || e.hidden)).map(e => e.outerHTML)`)
	if len(nameless) > 0 {
		t.Errorf("controls without a name: %v", nameless)
	}
}

// testOperateOnPhone: nothing of the page for operators is wider than a phone, whatever it shows.
func testOperateOnPhone(t *testing.T, b *browser, base string) {
	id := post(t, base+"/v1/requests", `{"route":"sleep","maxAttempts":1,"topic":"`+strings.Repeat("long-", 30)+`","content":{"steps":1,"duration":"1ms","fail":true}}`)["id"].(string)
	p := b.open(t, base+"/operate.html")
	p.do(chromedp.EmulateViewport(360, 740, chromedp.EmulateScale(2), chromedp.EmulateMobile))
	p.until(`document.querySelectorAll('#routes tr').length > 2`)
	narrow := func() {
		t.Helper()
		if wide := eval[int](p, `document.documentElement.scrollWidth`); wide > 360 {
			t.Errorf("it scrolls sideways: %d px", wide)
		}
	}
	narrow()
	for _, name := range []string{"requests", "nodes", "submit", "dead"} {
		p.tab(name)
		narrow()
	}
	p.until(`document.querySelector('#dead-routes [data-route=sleep]') !== null`)
	p.do(chromedp.Click(chromedp.CSS(`#dead-routes [data-route=sleep]`)))
	p.until(`document.querySelector('#dead-list summary') !== null`)
	p.do(chromedp.Click(chromedp.CSS(`#dead-list summary`)))
	narrow()
	p.do(chromedp.Evaluate[chromedp.Void](`void (location.hash = '#request/` + id + `')`))
	p.until(`document.querySelectorAll('#request-timeline li').length >= 3`)
	narrow()
}
