// Package webdemo is the page that the gateway serves at its root: try requests
// in a browser and watch them live. hark.js is the client module that it uses; it
// stands alone and may be copied.
//
// There is no build step. The page needs nothing from elsewhere and works under
// the Content-Security-Policy "default-src 'self'".
package webdemo

import "embed"

// FS holds the page's files, index.html among them.
//
//go:embed *.html *.js *.css *.svg
var FS embed.FS
