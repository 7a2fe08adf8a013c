module headwater/web

go 1.26.0

require (
	headwater/proto v0.0.0
	headwater/streams v0.0.0
)

require (
	github.com/a-h/templ v0.3.977 // indirect
	github.com/google/go-cmp v0.7.0 // indirect
)

replace (
	headwater/proto => ../proto
	headwater/streams => ../streams
)
