module cloudslice/tests/go

go 1.20

require github.com/tencentcloud/tencentcloud-sdk-go/tencentcloud/common v1.3.210
