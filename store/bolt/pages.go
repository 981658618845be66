package bolt

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"os"

	bolt "go.etcd.io/bbolt"
)

// pages goes through the tree of a bbolt file without bbolt, which panics on a damaged page, in
// goroutines where nobody can recover, and reads whatever a damaged number points to. It holds each
// page against how bbolt writes one: entries one behind the other, without a gap, in the order of
// their keys, within the bounds that the page above gives. So every byte that leads somewhere is
// known to lead there; what a value holds is for its sum to tell.
//
// The format is bbolt's (https://pkg.go.dev/go.etcd.io/bbolt, internal/common), in the machine's
// byte order.
type pages struct {
	file  io.ReaderAt
	size  int64 // of the file, in bytes
	page  int   // size of a page
	high  uint64
	seen  []uint64 // a bit for each page
	count int      // pages that are in use

	// leaf is called with each entry of each bucket, in order; the slices are its own only until it
	// returns.
	leaf func(bucket, key, value []byte) error
	// skip, if there is one, is told of pages that are damaged, which are left out then; else walk
	// ends.
	skip func(error)
	only []byte // the one bucket to go through; nil: all
}

// brokenPageError is what is wrong with a page.
type brokenPageError struct {
	page uint64
	what string
}

func (e *brokenPageError) Error() string { return fmt.Sprintf("page %d: %s", e.page, e.what) }

const (
	pageHeader   = 16
	pageElement  = 16
	pageBranch   = 0x01
	pageLeaf     = 0x02
	pageMeta     = 0x04
	bucketEntry  = 0x01
	bucketHeader = 16
	metaSize     = 64
	boltMagic    = 0xED0CDAED
	boltVersion  = 2
	deepest      = 64
	smallestPage = 1 << 10
	largestPage  = 64 << 10
)

var (
	order = binary.NativeEndian

	errNoMeta = errors.New("both of its first pages are damaged, or it is no Hark store")
)

// boltMeta is what one of the first two pages says of the file.
type boltMeta struct {
	page     int
	root     uint64
	high     uint64
	freelist uint64
	txid     uint64
}

func decodeMeta(raw []byte) (m boltMeta, ok bool) {
	if order.Uint32(raw) != boltMagic || order.Uint32(raw[4:]) != boltVersion {
		return m, false
	}
	h := fnv.New64a()
	_, _ = h.Write(raw[:metaSize-8])
	if h.Sum64() != order.Uint64(raw[metaSize-8:]) {
		return m, false
	}
	return boltMeta{
		page: int(order.Uint32(raw[8:])), root: order.Uint64(raw[16:]), freelist: order.Uint64(raw[32:]), high: order.Uint64(raw[40:]),
		txid: order.Uint64(raw[48:]),
	}, true
}

// firstPages is what the first two pages of a file say: each of them where everything else is. A
// commit writes the one that is older, and that with the higher number counts. See mirror.
type firstPages struct {
	newest  boltMeta
	damaged [2]bool // a byte of it is another one than bbolt writes
	lost    bool    // what one of them said cannot be read any more: it may have been the newest
}

// whole returns what is damaged of them, nil if nothing is.
func (f firstPages) whole() error {
	switch f.damaged {
	case [2]bool{}:
		return nil
	case [2]bool{true, false}:
		return errFirstPage
	case [2]bool{false, true}:
		return errSecondPage
	default:
		return errBothPages
	}
}

// What is damaged of the first two pages, if they can be told to be those of a store.
var (
	errFirstPage  = errors.New("its first page is damaged")
	errSecondPage = errors.New("its second page is damaged")
	errBothPages  = errors.New("its first two pages are damaged where they say nothing")
)

// older is what is wrong with a file of whose first two pages one cannot be read, and the other one
// may be that of the state before.
func (f firstPages) older() error {
	return &pageError{fmt.Errorf("%w, and what is left is the state before the last changes, or may be: those would be missing", f.whole())}
}

// firstPages reads the two; errNoMeta if neither can be read.
func (p *pages) firstPages() (f firstPages, err error) {
	var read [2]bool
	try := func(n int, size int64) bool {
		raw := make([]byte, size)
		if _, err := p.file.ReadAt(raw, int64(n)*size); err != nil {
			return false
		}
		m, ok := decodeMeta(raw[pageHeader:])
		if !ok || int64(m.page) != size {
			return false
		}
		if !read[1-n] || m.txid > f.newest.txid {
			f.newest = m
		}
		read[n] = true
		f.damaged[n] = order.Uint64(raw) != uint64(n) || order.Uint16(raw[8:]) != pageMeta ||
			len(bytes.Trim(raw[10:pageHeader], "\x00")) > 0 || len(bytes.Trim(raw[pageHeader+metaSize:], "\x00")) > 0
		return true
	}
	head := make([]byte, pageHeader+metaSize)
	if _, err := p.file.ReadAt(head, 0); err == nil {
		if m, ok := decodeMeta(head[pageHeader:]); ok && m.page >= smallestPage && m.page <= largestPage && try(0, int64(m.page)) {
			try(1, int64(m.page))
		}
	}
	for size := int64(smallestPage); !read[0] && !read[1] && size <= largestPage; size <<= 1 {
		try(1, size) // how large pages are is said by the first only
	}
	if !read[0] && !read[1] {
		return f, errNoMeta
	}
	for n := range read {
		if !read[n] {
			f.damaged[n], f.lost = true, true
		}
	}
	return f, nil
}

// readFirstPages reads those of the file at path.
func readFirstPages(path string) (f firstPages, err error) {
	file, err := os.Open(path)
	if err != nil {
		return f, err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	return (&pages{file: file}).firstPages()
}

// mirror has both of the first pages say the same, after a commit: bbolt would fall back silently
// on the state before it if the newest is damaged. It is a commit that changes nothing, and need
// not be durable before the next one, which writes over nothing that this one or the one before
// leads to. If it fails, the file is what it was.
func mirror(db *bolt.DB) {
	was := db.NoSync
	db.NoSync = true
	_ = db.Update(func(*bolt.Tx) error { return nil })
	db.NoSync = was
}

// syncFile makes durable what mirror has written.
func syncFile(db *bolt.DB) error {
	if db.NoSync {
		return nil
	}
	return db.Sync()
}

// update commits a change, and has both of the first pages say so.
func update(db *bolt.DB, change func(*bolt.Tx) error) error {
	err := db.Update(change)
	if err == nil {
		mirror(db)
	}
	return err
}

// walk goes through all pages in use.
func (p *pages) walk() error {
	first, err := p.firstPages()
	if err != nil {
		return err
	}
	meta := first.newest
	p.page, p.high = meta.page, meta.high
	if p.high < 3 || p.high > uint64(p.size/int64(p.page)) {
		return fmt.Errorf("it ends after %d bytes, and has pages beyond that: it was cut", p.size)
	}
	p.seen = make([]uint64, p.high/64+1)
	return p.tree(meta.root, nil, nil, nil, 0)
}

func damage(id uint64, what string) error { return &brokenPageError{id, what} }

// tree goes through the page and what is below it. All keys are at least low and less than high,
// where those are given.
func (p *pages) tree(id uint64, bucket, low, high []byte, depth int) error {
	err := p.visit(id, bucket, low, high, depth)
	if p.skip == nil || err == nil {
		return err
	}
	if _, ok := errors.AsType[*brokenPageError](err); !ok {
		return err
	}
	p.skip(err)
	return nil
}

func (p *pages) visit(id uint64, bucket, low, high []byte, depth int) error {
	if id < 2 || id >= p.high {
		return damage(id, "there is no such page")
	}
	if depth > deepest {
		return damage(id, "pages form a circle")
	}
	raw := make([]byte, p.page)
	if _, err := p.file.ReadAt(raw, int64(id)*int64(p.page)); err != nil {
		return damage(id, err.Error())
	}
	more := uint64(order.Uint32(raw[12:]))
	if order.Uint64(raw) != id || more >= p.high-id {
		return damage(id, "it is another one")
	}
	for n := id; n <= id+more; n++ {
		if p.seen[n/64]&(1<<(n%64)) != 0 {
			return damage(n, "it is used twice")
		}
		p.seen[n/64] |= 1 << (n % 64)
		p.count++
	}
	if more > 0 {
		raw = make([]byte, int(more+1)*p.page)
		if _, err := p.file.ReadAt(raw, int64(id)*int64(p.page)); err != nil {
			return damage(id, err.Error())
		}
	}
	used, err := p.entries(id, raw, bucket, low, high, depth)
	if err != nil {
		return err
	}
	if need := (used + p.page - 1) / p.page; int(more)+1 != need && int(more) != used/p.page {
		return damage(id, "its length is another one")
	}
	return nil
}

// entries goes through the entries of a page, and returns up to where it is used.
func (p *pages) entries(id uint64, raw, bucket, low, high []byte, depth int) (used int, err error) {
	kind, count := order.Uint16(raw[8:]), int(order.Uint16(raw[10:]))
	used = pageHeader + count*pageElement
	if kind != pageBranch && kind != pageLeaf || used > len(raw) || kind == pageBranch && count == 0 {
		return 0, damage(id, "its head is damaged")
	}
	last := low
	for i := range count {
		at := pageHeader + i*pageElement
		e := raw[at : at+pageElement]
		var pos, keySize, valueSize int
		if kind == pageLeaf {
			pos, keySize, valueSize = int(order.Uint32(e[4:])), int(order.Uint32(e[8:])), int(order.Uint32(e[12:]))
		} else {
			pos, keySize = int(order.Uint32(e)), int(order.Uint32(e[4:]))
		}
		if at+pos != used || keySize == 0 || keySize > len(raw)-used || valueSize > len(raw)-used-keySize {
			return 0, damage(id, fmt.Sprintf("where its entry %d lies is damaged", i))
		}
		key, value := raw[used:used+keySize], raw[used+keySize:used+keySize+valueSize]
		used += keySize + valueSize
		// The first key of a branch may be more than its own bound's, never less.
		if c := bytes.Compare(key, last); last != nil && (c < 0 || c == 0 && i > 0) || high != nil && bytes.Compare(key, high) >= 0 {
			return 0, damage(id, fmt.Sprintf("its entry %d is not in order", i))
		}
		last = key
		switch {
		case kind == pageBranch:
			next := high
			if i+1 < count {
				if next, err = p.branchKey(raw, i+1); err != nil {
					return 0, damage(id, err.Error())
				}
			}
			err = p.tree(order.Uint64(e[8:]), bucket, key, next, depth+1)
		case order.Uint32(e) == bucketEntry && bucket == nil:
			err = p.bucket(id, key, value, depth)
		case order.Uint32(e) != 0 || bucket == nil:
			err = damage(id, fmt.Sprintf("its entry %d is neither a value nor a bucket", i))
		default:
			err = p.leaf(bucket, key, value)
		}
		if err != nil {
			return 0, err
		}
	}
	return used, nil
}

func (p *pages) branchKey(raw []byte, i int) ([]byte, error) {
	at := pageHeader + i*pageElement
	from, size := at+int(order.Uint32(raw[at:])), int(order.Uint32(raw[at+4:]))
	if from > len(raw) || size > len(raw)-from {
		return nil, errors.New("a key of it is damaged")
	}
	return raw[from : from+size], nil
}

// bucket goes through a bucket, which is in its entry if it is small.
func (p *pages) bucket(id uint64, name, value []byte, depth int) error {
	if p.only != nil && !bytes.Equal(name, p.only) {
		return nil
	}
	if len(value) < bucketHeader {
		return damage(id, "a bucket of it is damaged")
	}
	if root := order.Uint64(value); root != 0 {
		if len(value) != bucketHeader {
			return damage(id, "a bucket of it is damaged")
		}
		return p.tree(root, name, nil, nil, depth+1)
	}
	inline := value[bucketHeader:]
	if len(inline) < pageHeader || order.Uint16(inline[8:]) != pageLeaf || order.Uint64(inline) != 0 || order.Uint32(inline[12:]) != 0 {
		return damage(id, "a bucket in it is damaged")
	}
	used, err := p.entries(id, inline, name, nil, nil, depth)
	if err == nil && used != len(inline) {
		err = damage(id, "a bucket in it is damaged")
	}
	return err
}

// inspected is what inspect has seen of a file.
type inspected struct {
	first firstPages
	used  int   // pages in use
	page  int   // size of a page, in bytes
	size  int64 // of the file, in bytes
}

// inspect goes through the pages of the file of a store before it is opened for writing. Values of
// sealed tables are held against their sums, but for bodies, which are when they are read; unsealed
// is called with each that is not what was stored.
func inspect(path string, unsealed func(bucket, key []byte)) (seen inspected, err error) {
	file, err := os.Open(path)
	if err != nil {
		return seen, err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	info, err := file.Stat()
	if err != nil {
		return seen, err
	}
	names := make(map[string][]byte)
	for _, name := range sealedTables {
		if &name[0] != &piecesBucket[0] {
			names[string(name)] = name
		}
	}
	strict, sums := false, false
	meta := &pages{file: file, size: info.Size(), only: metaBucket, leaf: func(_, key, value []byte) error {
		strict = strict || bytes.Equal(key, sealedKey)
		sums = sums || bytes.Equal(key, versionKey) && positionOf(value) >= boundSince
		return nil
	}}
	if seen.first, err = meta.firstPages(); err != nil {
		return seen, err
	}
	p := &pages{file: file, size: info.Size(), leaf: func(bucket, key, value []byte) error {
		if name := names[string(bucket)]; name != nil && sums {
			if _, err := unseal(strict, name, key, value); err != nil {
				unsealed(name, key)
			}
		}
		return nil
	}}
	if err = meta.walk(); err == nil {
		err = p.walk()
	}
	if err != nil && seen.first.lost { // what is left of the state before need not be whole
		err = fmt.Errorf("%w, and so is what the other one leads to: %w", seen.first.whole(), err)
	}
	seen.used, seen.page, seen.size = p.count, p.page, p.size
	return seen, err
}
