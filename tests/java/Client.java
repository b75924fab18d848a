import com.google.gson.Gson;
import com.google.gson.JsonObject;
import com.google.gson.JsonParser;
import com.tencentcloudapi.common.AbstractModel;
import com.tencentcloudapi.common.Credential;
import com.tencentcloudapi.common.exception.TencentCloudSDKException;
import com.tencentcloudapi.common.profile.ClientProfile;
import com.tencentcloudapi.common.profile.HttpProfile;
import com.tencentcloudapi.common.profile.Language;
import com.tencentcloudapi.trtc.v20190722.TrtcClient;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.lang.reflect.InvocationTargetException;
import java.lang.reflect.Method;
import java.nio.charset.StandardCharsets;

/**
 * Calls the API by the official Java SDK.
 *
 * <p>Each line of standard input is an order in JSON, each line of standard output its result: see
 * tests/helpers/client_programs.py.
 */
public final class Client {
    private static final String MODELS = "com.tencentcloudapi.trtc.v20190722.models.";

    public static void main(String[] arguments) throws Exception {
        BufferedReader orders =
                new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        PrintStream results = new PrintStream(System.out, true, StandardCharsets.UTF_8);
        for (String line = orders.readLine(); line != null; line = orders.readLine()) {
            results.println(new Gson().toJson(obey(JsonParser.parseString(line).getAsJsonObject())));
        }
    }

    private static JsonObject obey(JsonObject order) throws ReflectiveOperationException {
        JsonObject result = new JsonObject();
        try {
            JsonObject outputs =
                    call(
                            client(order.getAsJsonObject("settings")),
                            order.get("action").getAsString(),
                            order.getAsJsonObject("parameters"));
            result.add("request_id", outputs.get("RequestId"));
            result.add("outputs", outputs);
        } catch (TencentCloudSDKException error) {
            result.addProperty("code", error.getErrorCode());
            result.addProperty("message", error.getMessage());
            result.addProperty("request_id", error.getRequestId());
        }
        return result;
    }

    private static TrtcClient client(JsonObject settings) {
        HttpProfile http = new HttpProfile();
        http.setProtocol(HttpProfile.REQ_HTTP);
        http.setEndpoint(text(settings, "endpoint"));
        http.setReqMethod(text(settings, "http_method"));
        ClientProfile profile = new ClientProfile(text(settings, "sign_method"), http);
        profile.setLanguage(
                text(settings, "language").equals("zh-CN") ? Language.ZH_CN : Language.EN_US);
        profile.setUnsignedPayload(settings.get("unsigned_payload").getAsBoolean());
        Credential credential =
                new Credential(
                        text(settings, "secret_id"),
                        text(settings, "secret_key"),
                        text(settings, "token"));
        return new TrtcClient(credential, text(settings, "region"), profile);
    }

    private static JsonObject call(TrtcClient client, String action, JsonObject parameters)
            throws ReflectiveOperationException, TencentCloudSDKException {
        Class<?> model = Class.forName(MODELS + action + "Request");
        Method method = TrtcClient.class.getMethod(action, model);
        Object request = AbstractModel.fromJsonString(parameters.toString(), model);
        try {
            AbstractModel response = (AbstractModel) method.invoke(client, request);
            return JsonParser.parseString(AbstractModel.toJsonString(response)).getAsJsonObject();
        } catch (InvocationTargetException error) {
            if (error.getCause() instanceof TencentCloudSDKException) {
                throw (TencentCloudSDKException) error.getCause();
            }
            throw error;
        }
    }

    private static String text(JsonObject settings, String name) {
        return settings.get(name).isJsonNull() ? null : settings.get(name).getAsString();
    }
}
