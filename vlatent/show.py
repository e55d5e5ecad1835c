from vlatent.core import *
from einops import rearrange
from PIL import Image
def show_clips(video, zoom=2, **kw):
    s=rearrange(video.detach().cpu().clamp(-1,1),'b c t h w -> (b h) (t w) c')
    im=Image.fromarray(((s+1)*127.5).byte().numpy()); return im.resize((zoom*im.width,zoom*im.height),0)
def save_sheet(path, video, **kw):
    with replacing(path) as t: show_clips(video).save(t)
