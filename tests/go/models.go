package main

import tchttp "github.com/tencentcloud/tencentcloud-sdk-go/tencentcloud/common/http"

// Typed requests, as the SDK's module for this product declares them: only those can be sent with
// the older signatures and by GET.

type subscribeStreamUserIds struct {
	SubscribeAudioUserIds   []*string `json:"SubscribeAudioUserIds,omitempty" name:"SubscribeAudioUserIds"`
	UnSubscribeAudioUserIds []*string `json:"UnSubscribeAudioUserIds,omitempty" name:"UnSubscribeAudioUserIds"`
	SubscribeVideoUserIds   []*string `json:"SubscribeVideoUserIds,omitempty" name:"SubscribeVideoUserIds"`
	UnSubscribeVideoUserIds []*string `json:"UnSubscribeVideoUserIds,omitempty" name:"UnSubscribeVideoUserIds"`
}

type sliceParams struct {
	SliceType              *uint64                 `json:"SliceType,omitempty" name:"SliceType"`
	MaxIdleTime            *uint64                 `json:"MaxIdleTime,omitempty" name:"MaxIdleTime"`
	SliceAudio             *uint64                 `json:"SliceAudio,omitempty" name:"SliceAudio"`
	SliceVideo             *uint64                 `json:"SliceVideo,omitempty" name:"SliceVideo"`
	SubscribeStreamUserIds *subscribeStreamUserIds `json:"SubscribeStreamUserIds,omitempty" name:"SubscribeStreamUserIds"`
}

type cloudSliceStorage struct {
	Vendor         *uint64   `json:"Vendor,omitempty" name:"Vendor"`
	Region         *string   `json:"Region,omitempty" name:"Region"`
	Bucket         *string   `json:"Bucket,omitempty" name:"Bucket"`
	AccessKey      *string   `json:"AccessKey,omitempty" name:"AccessKey"`
	SecretKey      *string   `json:"SecretKey,omitempty" name:"SecretKey"`
	FileNamePrefix []*string `json:"FileNamePrefix,omitempty" name:"FileNamePrefix"`
}

type sliceStorageParams struct {
	CloudSliceStorage *cloudSliceStorage `json:"CloudSliceStorage,omitempty" name:"CloudSliceStorage"`
}

type createRequest struct {
	*tchttp.BaseRequest
	SdkAppId            *uint64             `json:"SdkAppId,omitempty" name:"SdkAppId"`
	RoomId              *string             `json:"RoomId,omitempty" name:"RoomId"`
	UserId              *string             `json:"UserId,omitempty" name:"UserId"`
	UserSig             *string             `json:"UserSig,omitempty" name:"UserSig"`
	SliceParams         *sliceParams        `json:"SliceParams,omitempty" name:"SliceParams"`
	SliceStorageParams  *sliceStorageParams `json:"SliceStorageParams,omitempty" name:"SliceStorageParams"`
	RoomIdType          *uint64             `json:"RoomIdType,omitempty" name:"RoomIdType"`
	ResourceExpiredHour *uint64             `json:"ResourceExpiredHour,omitempty" name:"ResourceExpiredHour"`
	PrivateMapKey       *string             `json:"PrivateMapKey,omitempty" name:"PrivateMapKey"`
}

type taskRequest struct {
	*tchttp.BaseRequest
	SdkAppId *uint64 `json:"SdkAppId,omitempty" name:"SdkAppId"`
	TaskId   *string `json:"TaskId,omitempty" name:"TaskId"`
}

type modifyRequest struct {
	*tchttp.BaseRequest
	SdkAppId               *uint64                 `json:"SdkAppId,omitempty" name:"SdkAppId"`
	TaskId                 *string                 `json:"TaskId,omitempty" name:"TaskId"`
	SubscribeStreamUserIds *subscribeStreamUserIds `json:"SubscribeStreamUserIds,omitempty" name:"SubscribeStreamUserIds"`
}

type numericRoomRequest struct {
	*tchttp.BaseRequest
	SdkAppId *uint64   `json:"SdkAppId,omitempty" name:"SdkAppId"`
	RoomId   *uint64   `json:"RoomId,omitempty" name:"RoomId"`
	UserIds  []*string `json:"UserIds,omitempty" name:"UserIds"`
}

type stringRoomRequest struct {
	*tchttp.BaseRequest
	SdkAppId *uint64   `json:"SdkAppId,omitempty" name:"SdkAppId"`
	RoomId   *string   `json:"RoomId,omitempty" name:"RoomId"`
	UserIds  []*string `json:"UserIds,omitempty" name:"UserIds"`
}

func newTypedRequest(action string) tchttp.Request {
	base := (&tchttp.BaseRequest{}).Init().WithApiInfo("trtc", version, action)
	switch action {
	case "CreateCloudSliceTask":
		return &createRequest{BaseRequest: base}
	case "ModifyCloudSliceTask":
		return &modifyRequest{BaseRequest: base}
	case "RemoveUser", "DismissRoom":
		return &numericRoomRequest{BaseRequest: base}
	case "RemoveUserByStrRoomId", "DismissRoomByStrRoomId":
		return &stringRoomRequest{BaseRequest: base}
	default:
		return &taskRequest{BaseRequest: base}
	}
}
