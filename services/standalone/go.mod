module headwater/services/standalone

go 1.26.0

require (
	headwater/proto v0.0.0
	headwater/services v0.0.0
	headwater/streams v0.0.0
	headwater/web v0.0.0
)

replace (
	headwater/proto => ../../proto
	headwater/services => ../
	headwater/streams => ../../streams
	headwater/web => ../../web
)
